#!/usr/bin/env bash
# Installs what the build needs beside Rust: a C++ compiler, CMake and libclang (the HiGHS solver is
# compiled from source and its header is read by bindgen). With --python also a virtual environment
# in .venv for the executor tests, with --postgres also the server for those of the planning service.
# With --browser Chromium, which walks the pages (web/ui/tests). A second run finds everything and
# ends at once.
set -euo pipefail
cd "$(dirname "$0")/.."

missing=()
command -v c++ >/dev/null 2>&1 || missing+=(g++)
command -v make >/dev/null 2>&1 || missing+=(make)
command -v cmake >/dev/null 2>&1 || missing+=(cmake)
have_libclang() {
  [ -n "${LIBCLANG_PATH:-}" ] && return 0
  local lib
  # A digit after the dash: libclang-cpp is another library.
  for lib in {/usr/lib/llvm-*/lib,/usr/lib/*-linux-gnu,/usr/lib64,/usr/local/lib}/libclang{.so,.so.*,-[0-9]*.so*}; do
    [ -e "$lib" ] && return 0
  done
  return 1
}
have_libclang || missing+=(libclang-dev)
if [ "${1:-}" = "--python" ]; then
  command -v python3 >/dev/null 2>&1 || missing+=(python3)
  python3 -c 'import venv, ensurepip' >/dev/null 2>&1 || missing+=(python3-venv)
fi
if [ "${1:-}" = "--postgres" ]; then
  command -v python3 >/dev/null 2>&1 || missing+=(python3)
  command -v initdb >/dev/null 2>&1 || compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null ||
    missing+=(postgresql)
fi

if [ "${1:-}" = "--browser" ]; then
  command -v chromium >/dev/null 2>&1 || command -v google-chrome >/dev/null 2>&1 || missing+=(chromium)
fi

if [ "${#missing[@]}" -gt 0 ]; then
  command="apt-get update && apt-get install -y --no-install-recommends ${missing[*]}"
  if ! command -v apt-get >/dev/null 2>&1; then
    echo "missing: ${missing[*]}; install them with this system's package manager" >&2
    exit 2
  elif [ "$(id -u)" = 0 ]; then
    sudo=""
  elif command -v sudo >/dev/null 2>&1 && sudo -n true 2>/dev/null; then
    sudo="sudo -n"
  else
    echo "missing: ${missing[*]}; run this and try again:" >&2
    echo "  sudo sh -c '$command'" >&2
    exit 2
  fi
  echo "installing with apt: ${missing[*]}"
  $sudo env DEBIAN_FRONTEND=noninteractive apt-get update -qq
  $sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
fi

if ! command -v cargo >/dev/null 2>&1; then
  echo "missing: cargo (Rust 1.89 or newer); see https://www.rust-lang.org/tools/install" >&2
  exit 2
fi

if [ "${1:-}" = "--python" ]; then
  stamp=.venv/.installed
  wanted=$(cat python/requirements.txt python/requirements.lock)
  if [ "$wanted" != "$(cat "$stamp" 2>/dev/null)" ]; then
    echo "installing into .venv: $(tr '\n' ' ' < python/requirements.txt)"
    "$(command -v python3.11 || command -v python3)" -m venv --clear .venv
    pip="env PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_CONSTRAINT=python/requirements.lock .venv/bin/pip"
    $pip install --quiet -r python/requirements.txt
    # Single files of these are read; they would need a GPU to run.
    for package in hetu-galvatron sglang vllm; do
      $pip download --quiet --no-deps -d .venv/archives "$package" || echo "$package: not here, skipped"
    done
    echo "$wanted" > "$stamp"
  fi
fi
