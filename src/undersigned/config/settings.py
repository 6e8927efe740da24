"""Django's settings, all from ``config.env``; no copies per environment."""

from __future__ import annotations

import secrets
from pathlib import Path
from urllib.parse import urlsplit

from undersigned.config.database import make_database_settings
from undersigned.config.env import read_environment
from undersigned.web.shared import locale

ENVIRONMENT = read_environment()
PACKAGE = Path(__file__).resolve().parent.parent

# Django signs nothing that outlives the process (no cookies, no sessions), so its key
# is made at start and never written.
SECRET_KEY = secrets.token_urlsafe(50)
DEBUG = False
ALLOWED_HOSTS = [
    urlsplit(ENVIRONMENT.base_url).hostname or "localhost",
    ENVIRONMENT.host.rsplit(":", 1)[0],
]
if ENVIRONMENT.mode != "production":
    # A newcomer's phone on the same network; production names its host.
    ALLOWED_HOSTS = ["*"]

INSTALLED_APPS = [
    "undersigned.accounts",
    "undersigned.audit",
    "undersigned.authorities",
    "undersigned.campaigns",
    "undersigned.signatures",
    "undersigned.web",
]
AUTH_USER_MODEL = "accounts.User"
MIDDLEWARE = [
    "undersigned.web.shared.middleware.security_headers",
    "django.middleware.locale.LocaleMiddleware",
    "undersigned.web.shared.middleware.DomainErrors",
    "django.middleware.common.CommonMiddleware",
]
ROOT_URLCONF = "undersigned.config.urls"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [PACKAGE / "web" / "templates"],
        "APP_DIRS": False,
        "OPTIONS": {
            "context_processors": ["django.template.context_processors.request"],
        },
    }
]

DATABASES = {"default": make_database_settings(ENVIRONMENT)}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

LANGUAGE_CODE = "en"
LANGUAGES = locale.list_languages(ENVIRONMENT.mode)
LANGUAGES_BIDI = list(locale.BIDI)
LOCALE_PATHS = [locale.FOLDER]
USE_I18N = True
USE_TZ = True
TIME_ZONE = "UTC"

STATIC_URL = "/static/"
APPEND_SLASH = True
# Big enough for a form with a statement; uploads come with their own rules later.
DATA_UPLOAD_MAX_MEMORY_SIZE = 300_000
FILE_UPLOAD_MAX_MEMORY_SIZE = 300_000
DATA_UPLOAD_MAX_NUMBER_FIELDS = 50
# In memory or not at all: a temporary file would be a copy of somebody's receipt.
FILE_UPLOAD_HANDLERS = ["django.core.files.uploadhandler.MemoryFileUploadHandler"]

# Nothing about requests is logged: addresses, paths and times of signers would be
# (SAFETY P2). Faults go to standard error without the request (web.shared.middleware).
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"plain": {"format": "%(levelname)s %(name)s: %(message)s"}},
    "handlers": {
        "stderr": {"class": "logging.StreamHandler", "formatter": "plain"},
        "nowhere": {"class": "logging.NullHandler"},
    },
    "root": {"handlers": ["stderr"], "level": "WARNING"},
    "loggers": {
        "django.request": {"handlers": ["nowhere"], "propagate": False},
        "django.security": {"handlers": ["nowhere"], "propagate": False},
        "django.server": {"handlers": ["nowhere"], "propagate": False},
        "undersigned": {"handlers": ["stderr"], "level": "INFO", "propagate": False},
    },
}

# Checks that ask for middleware this product replaces by its own (docs/adr/0009).
SILENCED_SYSTEM_CHECKS = [
    "security.W001",  # SecurityMiddleware: web.shared.middleware sends these headers
    "security.W002",  # XFrameOptionsMiddleware: frame-ancestors 'none'
    "security.W003",  # CsrfViewMiddleware: no cookies; other sites' POSTs are refused
]
