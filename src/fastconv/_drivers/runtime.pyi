from enum import IntEnum
from typing import TypedDict

class Status(IntEnum):
    OK = 0
    OUT_OF_MEMORY = 1
    INDEX_OUT_OF_RANGE = 2

class _BuildInfo(TypedDict):
    compiler: str
    openmp: int
    isa: str

def set_default_threads(n: int) -> None: ...
def get_default_threads() -> int: ...
def openmp_max_threads() -> int: ...
def build_info() -> _BuildInfo: ...
def select_isa(name: str | None) -> None: ...
