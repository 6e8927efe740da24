"""The user table."""

from __future__ import annotations

from typing import ClassVar

from django.contrib.auth.base_user import AbstractBaseUser, BaseUserManager
from django.db import models

from undersigned.kernel.ids import make_random_id


class UserAccounts(BaseUserManager["User"]):
    """Finds accounts by their handle."""


class User(AbstractBaseUser):
    """An account. Holds neither an address nor a legal name.

    ``ref`` is what the rest of the product sees; ``handle`` is what colleagues see.
    """

    ref = models.CharField(primary_key=True, max_length=20, default=make_random_id)
    handle = models.CharField(max_length=40, unique=True)
    is_active = models.BooleanField(default=True)
    # Which day somebody was last here is enough; AbstractBaseUser keeps the second.
    last_login = None  # Django's way to drop the column

    objects: ClassVar[UserAccounts] = UserAccounts()

    USERNAME_FIELD = "handle"
    REQUIRED_FIELDS: ClassVar[list[str]] = []
