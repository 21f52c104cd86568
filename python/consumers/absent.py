"""Stand-ins for modules that a server's parser of flags imports and does not use."""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import sys
import types


# Names with underscores that are looked for in classes (validators of configs in huggingface_hub).
TAKEN = {"__class_validators__"}


class Nothing(type):
    """A class of which everything can be taken: attributes, items, calls, order, unions."""

    def __getattr__(cls, name: str):
        if name.startswith("__") and name not in TAKEN:
            raise AttributeError(name)
        return nothing(name)

    def __call__(cls, *args, **named):
        # As a decorator it leaves a function as it is.
        if len(args) == 1 and not named and isinstance(args[0], types.FunctionType):
            return args[0]
        return type.__call__(cls)

    def __instancecheck__(cls, instance: object) -> bool:
        return type(instance) is Nothing or type(type(instance)) is Nothing

    def __getitem__(cls, _):
        return cls

    def __or__(cls, _):
        return cls

    __ror__ = __or__

    def __iter__(cls):
        return iter(())

    def __contains__(cls, _) -> bool:
        return False

    def __len__(cls) -> int:
        return 0

    def __int__(cls) -> int:
        return 0

    def __add__(cls, other):
        return other

    __radd__ = __add__

    def __lt__(cls, _) -> bool:
        return False

    __gt__ = __le__ = __ge__ = __lt__

    def __mul__(cls, _) -> int:
        return 1


class Instance(metaclass=Nothing):
    """What such a class makes."""

    def __init__(self, *_, **__):
        pass

    def __init_subclass__(cls, **_):
        pass

    def __getattr__(self, name: str):
        if name.startswith("__"):
            raise AttributeError(name)
        return nothing(name)

    def __call__(self, *args, **_):
        return args[0] if args and isinstance(args[0], (types.FunctionType, type)) else Instance()

    def __enter__(self):
        return self

    def __exit__(self, *_) -> bool:
        return False

    @classmethod
    def __get_pydantic_core_schema__(cls, *_):
        from pydantic_core import core_schema

        return core_schema.any_schema()


for name in ("__getitem__", "__or__", "__iter__", "__contains__", "__len__", "__int__", "__add__", "__radd__",
             "__lt__", "__gt__", "__le__", "__ge__", "__mul__"):  # fmt: skip
    setattr(Instance, name, Nothing.__dict__[name])

MADE: dict[str, type] = {}


def nothing(name: str) -> type:
    """The class of a name, the same each time."""
    return MADE.setdefault(name, Nothing(name, (Instance,), {}))


class Module(types.ModuleType):
    """A module of which every name is such a class."""

    def __getattr__(self, name: str):
        if name == "__version__":
            return "99.0.0"
        if name.startswith("__"):
            raise AttributeError(name)
        return nothing(name)


class Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds modules of some names, and what lies in them."""

    def __init__(self, names: list[str]):
        self.names = names

    def find_spec(self, name: str, path=None, target=None):
        if any(name == own or name.startswith(f"{own}.") for own in self.names):
            return importlib.machinery.ModuleSpec(name, self, is_package=True)
        return None

    def create_module(self, spec):
        module = Module(spec.name)
        module.__path__, module.__file__ = [], "absent"
        return module

    def exec_module(self, module):
        pass


def install(names: list[str]) -> None:
    """Stands in for modules, whether they are installed or not."""
    sys.meta_path.insert(0, Finder(names))
