"""NVRTC, the compiler that CuPy calls, through its C interface: it needs no GPU, only the package nvidia-cuda-nvrtc."""

import ctypes
import functools
import importlib.metadata
from collections.abc import Sequence


@functools.cache
def library() -> ctypes.CDLL | None:
    """The newest NVRTC installed, or None."""
    for package in ("nvidia-cuda-nvrtc", "nvidia-cuda-nvrtc-cu13", "nvidia-cuda-nvrtc-cu12"):
        try:
            files = importlib.metadata.files(package) or []
        except importlib.metadata.PackageNotFoundError:
            continue
        for file in files:
            if file.name.startswith("libnvrtc.so") and ".alt." not in file.name:
                return ctypes.CDLL(str(file.locate()))
    return None


def architectures() -> list[int]:
    """Those that it compiles for, as 75 of sm_75."""
    nvrtc, count = library(), ctypes.c_int()
    if nvrtc is None:
        return []
    assert nvrtc.nvrtcGetNumSupportedArchs(ctypes.byref(count)) == 0
    found = (ctypes.c_int * count.value)()
    assert nvrtc.nvrtcGetSupportedArchs(found) == 0
    return list(found)


def compile_source(text: str, options: Sequence[str]) -> tuple[bool, str, bytes]:
    """Whether it compiled, the compiler's log, and the machine code."""
    nvrtc = library()
    assert nvrtc is not None
    program = ctypes.c_void_p()
    assert nvrtc.nvrtcCreateProgram(ctypes.byref(program), text.encode(), b"kernels.cu", 0, None, None) == 0
    given = (ctypes.c_char_p * len(options))(*[option.encode() for option in options])
    result = nvrtc.nvrtcCompileProgram(program, len(options), given)
    log = _read(nvrtc.nvrtcGetProgramLogSize, nvrtc.nvrtcGetProgramLog, program)
    code = _read(nvrtc.nvrtcGetCUBINSize, nvrtc.nvrtcGetCUBIN, program) if result == 0 else b""
    nvrtc.nvrtcDestroyProgram(ctypes.byref(program))
    return result == 0, log.decode(errors="replace").rstrip("\0"), code


def _read(size_of, copy, program: ctypes.c_void_p) -> bytes:
    size = ctypes.c_size_t()
    assert size_of(program, ctypes.byref(size)) == 0
    buffer = ctypes.create_string_buffer(max(1, size.value))
    assert copy(program, buffer) == 0
    return buffer.raw[: size.value]
