"""Both sides of witnessing in one instance, for whoever starts or commands it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from undersigned_verify.errors import Fault
from undersigned_verify.policy import Policy, parse_policy

from undersigned.kernel.errors import StorageFailed
from undersigned.witness.feeder import Feeder
from undersigned.witness.policy import publish_policy, read_witness_list
from undersigned.witness.witness import Witness


@dataclass(slots=True)
class Witnessing:
    """The witness that we are, and where our own witnesses and policy are kept.

    ``folder``: the data directory; ``public``: root of the public files. ``base_url``:
    of the instance, without a slash at the end. ``feeder``: set while a spine is kept
    in this process.
    """

    folder: Path
    public: Path
    host: str
    base_url: str
    witness: Witness
    feeder: Feeder | None = None

    @property
    def submission_url(self) -> str:
        """Where others ask this instance for cosignatures."""
        return f"{self.base_url}/witness"

    def publish_policy(self) -> bool:
        """Write ``policy.txt``; False while there is no spine to make one for.

        Raises VKeyNotValid, StorageFailed.
        """
        try:
            vkey = (self.public / "spine" / "log.vkey").read_text(encoding="utf-8")
        except FileNotFoundError:
            return False
        publish_policy(
            folder=self.folder,
            public=self.public,
            spine_vkey=vkey.strip(),
            spine_url=f"{self.base_url}/spine",
        )
        return True

    def has_witnesses(self) -> bool:
        """Whether anybody is to be asked; True where our list cannot be read.

        Whoever asks finds out then, and shows the spine all the same.
        """
        try:
            return bool(read_witness_list(self.folder).witnesses)
        except StorageFailed:
            return True

    def read_policy(self) -> Policy | None:
        """Return the published policy, None where there is none.

        Raises StorageFailed where it is damaged: nobody then knows what to wait for.
        """
        try:
            return parse_policy((self.public / "policy.txt").read_bytes())
        except FileNotFoundError:
            return None
        except (OSError, Fault) as error:
            raise StorageFailed(f"couldn't read policy.txt: {error}") from error

    def take_list(self) -> bool:
        """Follow a change of our witnesses at once; as ``publish_policy``."""
        if self.feeder is not None:
            self.feeder.wake()
        return self.publish_policy()

    def stop(self) -> None:
        """Stop asking, and close the witness's file."""
        if self.feeder is not None:
            self.feeder.stop()
        self.witness.store.close()
