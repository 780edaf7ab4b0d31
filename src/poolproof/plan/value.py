"""The base of the values that a plan is written down with."""

import msgspec


class Value(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Base of the values that a plan is written down with."""
