"""Random identifiers."""

from __future__ import annotations

from undersigned.kernel.ids import make_random_id


class TestARandomIdentifier:
    def test_it_is_not_ordered_by_time(self) -> None:
        # SAFETY P3: with ids that rise, this order would be certain.
        made = [make_random_id() for _number in range(60)]
        assert made != sorted(made)
        assert len(set(made)) == len(made)

    def test_it_has_no_letters_that_look_alike_or_spell_words(self) -> None:
        letters = set(make_random_id(4000))
        assert not letters & set("01loaeiuyOIL")

    def test_it_is_as_long_as_asked(self) -> None:
        assert len(make_random_id(9)) == 9
