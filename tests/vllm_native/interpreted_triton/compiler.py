"""The compiler that Triton asks for, and that an interpreted kernel never needs."""

from typing import Any, NoReturn

from triton.backends.compiler import BaseBackend


def _refuse(*_arguments: Any, **_options: Any) -> NoReturn:
    raise RuntimeError("interpreted_triton compiles nothing: set TRITON_INTERPRET=1")


class InterpretedCompiler(BaseBackend):
    """Stands for the target ``cpu`` and refuses to compile for it."""

    binary_ext = "none"
    hash = load_dialects = parse_options = pack_metadata = _refuse
    add_stages = get_module_map = get_codegen_implementation = _refuse

    @staticmethod
    def supports_target(target: Any) -> bool:
        return bool(target.backend == "cpu")
