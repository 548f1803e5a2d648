"""Builds the package gpuzip over libgpuzip.

libgpuzip is the installed one, of which pkg-config tells, or that of the build folder which the
environment variable GPUZIP_BUILD names (after `cmake -B build && make -C build gpuzip_shared`).
The extension is in the stable ABI: one file for Python 3.9 and all later ones.
"""

import os
import re
import subprocess
import sys

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext


def of_build_folder(folder):
    """Settings of the extension, and the version, for a build folder."""
    with open(os.path.join(folder, "CMakeCache.txt"), encoding="utf-8") as cache:
        text = cache.read()
    source = re.search(r"^CMAKE_HOME_DIRECTORY:\w+=(.*)$", text, re.MULTILINE).group(1)
    version = re.search(r"^CMAKE_PROJECT_VERSION:\w+=(.*)$", text, re.MULTILINE).group(1)
    library = os.path.join(os.path.abspath(folder), "host", "library")
    return {
        "include_dirs": [os.path.join(source, "host"), os.path.join(source, "host", "status")],
        "library_dirs": [library],
        "runtime_library_dirs": [library],
    }, version


def of_pkg_config():
    """The same for the installed library."""

    def ask(*options):
        return subprocess.check_output(["pkg-config", *options, "gpuzip"], text=True).split()

    try:
        library = ask("--variable=libdir")
        # The loader searches the system's folders, and those of LD_LIBRARY_PATH.
        system = library[0].startswith(("/usr/lib", "/lib"))
        return {
            "include_dirs": ask("--variable=includedir"),
            "library_dirs": library,
            "runtime_library_dirs": [] if system else library,
        }, ask("--modversion")[0]
    except (OSError, subprocess.CalledProcessError):
        return None, None


class Build(build_ext):
    def run(self):
        if not self.extensions[0].library_dirs:
            sys.exit("libgpuzip is not there: install it, or name its build folder in GPUZIP_BUILD")
        super().run()


found, version = (
    of_build_folder(os.environ["GPUZIP_BUILD"]) if "GPUZIP_BUILD" in os.environ else of_pkg_config()
)
extension = Extension(
    "gpuzip._gpuzip",
    ["gpuzip/_gpuzip.c"],
    libraries=["gpuzip"],
    py_limited_api=True,
    **(found or {}),
)
setup(
    name="gpuzip",
    version=version or "0",
    description="Lossless text compression with language models",
    license="Apache-2.0",
    python_requires=">=3.9",
    packages=["gpuzip"],
    include_package_data=False,
    package_data={"gpuzip": ["py.typed", "*.pyi"]},
    ext_modules=[extension],
    cmdclass={"build_ext": Build},
    entry_points={"numcodecs.codecs": ["gpuzip = gpuzip._numcodecs:Gpuzip"]},
    options={"bdist_wheel": {"py_limited_api": "cp39"}},
)
