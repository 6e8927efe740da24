"""Tables point downwards, and no counted thing points at a person."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from django.apps import apps
from django.conf import settings
from django.db import models

from tests.architecture.layers import height_of

# These must not be joined with people even by a forgotten foreign key (docs/adr/0004).
BLIND_TO_PEOPLE = {"ledger", "credentials", "signatures", "eligibility"}

# The only packages that may build on Django's own tables.
MAY_USE_CONTRIB = {"accounts", "web"}


def package_of(model: type[models.Model]) -> str | None:
    """Return our package that owns ``model``, or None for Django's own."""
    parts = model.__module__.split(".")
    return parts[1] if parts[0] == "undersigned" else None


def is_account(model: type[models.Model]) -> bool:
    return model._meta.label_lower == settings.AUTH_USER_MODEL.lower()


def list_relations() -> Iterator[tuple[type[models.Model], type[models.Model]]]:
    """Yield (from, to) for every relation that one of our tables declares."""
    for model in apps.get_models(include_auto_created=True):
        if package_of(model) is None:
            continue
        for field in model._meta.get_fields():
            target = field.related_model
            declared = field.concrete or field.many_to_many
            if declared and not field.auto_created and isinstance(target, type):
                yield model, target


def is_wrong(model: type[models.Model], target: type[models.Model]) -> bool:
    """Say whether a relation from ``model`` to ``target`` breaks the order."""
    here, there = package_of(model), package_of(target)
    assert here is not None
    if here == there:
        return False
    if is_account(target):
        return here in BLIND_TO_PEOPLE
    if there is None:
        return here not in MAY_USE_CONTRIB
    return height_of(there) >= height_of(here)


def test_every_relation_points_downwards() -> None:
    wrong = [
        f"{model._meta.label} -> {target._meta.label}"
        for model, target in list_relations()
        if is_wrong(model, target)
    ]
    assert wrong == []


def test_the_user_model_is_ours_from_the_first_migration() -> None:
    assert settings.AUTH_USER_MODEL == "accounts.User"


def test_no_admin_goes_around_operations() -> None:
    assert not apps.is_installed("django.contrib.admin")


def make_model(package: str, name: str) -> type[models.Model]:
    """Return a table that is in no registry, as if ``package`` had it."""
    meta = type("Meta", (), {"app_label": package, "managed": False})
    module = f"undersigned.{package}.models"
    made = type(name, (models.Model,), {"__module__": module, "Meta": meta})
    apps.all_models[package].pop(name.lower())
    apps.clear_cache()
    return made


@pytest.mark.parametrize(
    "here,there,wrong",
    [
        ("signatures", "campaigns", False),
        ("campaigns", "campaigns", False),
        ("campaigns", "signatures", True),
        ("ledger", "campaigns", True),
        ("credentials", "authorities", True),
    ],
)
def test_the_rule_bites(*, here: str, there: str, wrong: bool) -> None:
    model = make_model(here, f"Here{here.title()}")
    target = make_model(there, f"There{there.title()}")
    assert is_wrong(model, target) is wrong


@pytest.mark.parametrize("package", sorted(BLIND_TO_PEOPLE))
def test_a_blind_package_may_not_point_at_an_account(package: str) -> None:
    account = apps.get_model(settings.AUTH_USER_MODEL)
    assert is_wrong(make_model(package, "Blind"), account)
