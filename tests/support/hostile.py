"""Objects whose own methods raise."""

from __future__ import annotations

from typing import Any


class OwnError(Exception):
    """An object's own error."""


def fail(*arguments: Any, **options: Any) -> Any:
    raise OwnError


class Meta(type):
    __getattribute__ = fail


# What raises -> a class of such objects
HOSTILE: dict[str, Any] = {
    "class": type("Hostile", (), {"__class__": property(fail)}),
    "attributes": type("Hostile", (), {"__getattr__": fail}),
    "all attributes": type("Hostile", (), {"__getattribute__": fail}),
    "repr": type("Hostile", (), {"__repr__": fail}),
    "equality": type("Hostile", (), {"__eq__": fail, "__hash__": fail, "__bool__": fail, "__len__": fail}),
    "metaclass": Meta("Hostile", (), {}),
}
