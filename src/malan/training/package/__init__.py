"""Algorithm packages: a folder with `algorithm.toml` becomes a `Package`, pinned by the digest of its files.

    folder ─ read_package ─▶ Package ─ settle_parameters, ask_for_data ─▶ DataRequest
                                     ─ declare_outputs(parameters, facts) ─▶ what the gate holds the files against

Nothing of a package is run here. Start reading at `package.py`; docs/design/algorithms.md has the format.
"""

from malan.training.package.diff import Difference, compare_packages
from malan.training.package.environment import installed_versions, missing_packages
from malan.training.package.folder import pack_files, read_folder, unpack_files
from malan.training.package.hints import Hint, find_hints
from malan.training.package.outputs import FACTS, declare_outputs
from malan.training.package.package import Package, Report, check_files, check_folder, package_of, read_package
from malan.training.package.parameters import Parameter, parameter_schema, read_settings, settle_parameters
from malan.training.package.request import DataRequest, Window, ask_for_data

__all__ = [
    "FACTS",
    "DataRequest",
    "Difference",
    "Hint",
    "Package",
    "Parameter",
    "Report",
    "Window",
    "ask_for_data",
    "check_files",
    "check_folder",
    "compare_packages",
    "declare_outputs",
    "find_hints",
    "installed_versions",
    "missing_packages",
    "pack_files",
    "package_of",
    "parameter_schema",
    "read_folder",
    "read_package",
    "read_settings",
    "settle_parameters",
    "unpack_files",
]
