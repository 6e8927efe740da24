"""``python -m undersigned_verify``."""

from undersigned_verify.cli import main

raise SystemExit(main())
