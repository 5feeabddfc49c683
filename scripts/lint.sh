#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# lint.sh FILE... - clang-format, clang-tidy and cppcheck for C files, shellcheck and one check more for the others.
#
# `make lint` calls it with all files and with BUILD, CPPFLAGS and BPF_CFLAGS in the environment.
set -euo pipefail

readonly BUILD=${BUILD:-build}
declare -a c_files=() bpf_files=() user_files=() shell_files=()
failed=0

check() { # NAME COMMAND...
	local name=$1
	shift
	printf '  %-14s ' "$name"
	if "$@" >"$BUILD/lint.log" 2>&1; then
		echo ok
	else
		echo failed
		# clang-tidy tells how much it left out for system headers.
		grep -vE '^([0-9]+ warnings? generated|Suppressed|Use -header-filter)' "$BUILD/lint.log"
		failed=1
	fi
}

# A file at a time: with several, the analyzer of clang 14 knows va_start() in the first alone, and
# takes every va_list of the others for uninitialized.
# shellcheck disable=SC2317 # called by check
tidy() { # FILE... -- FLAG...
	local -a files=()
	local file status=0
	while [[ $1 != -- ]]; do
		files+=("$1")
		shift
	done
	for file in "${files[@]}"; do
		clang-tidy --quiet "$file" "$@" || status=1
	done
	return "$status"
}

# shellcheck disable=SC2317 # called by check
no_early_reader() { # FILE...: it ends at the first match, and who still writes fails by SIGPIPE
	! grep -nE '^[^#]*[^|]\| *grep +-[a-zA-Z]*q' "$@"
}

for file; do
	case $file in
	*.bpf.c) bpf_files+=("$file") c_files+=("$file") ;;
	*.c) user_files+=("$file") c_files+=("$file") ;;
	*.h) c_files+=("$file") ;;
	*) shell_files+=("$file") ;;
	esac
done
# As the shell would split them, quotes and all.
readarray -t cppflags < <(xargs -n1 <<<"${CPPFLAGS:?}")
readarray -t bpf_flags < <(xargs -n1 <<<"${BPF_CFLAGS:?}")
mkdir -p "$BUILD"

check clang-format clang-format --dry-run -Werror "${c_files[@]}"
if [[ ${#user_files[@]} -gt 0 ]]; then
	includes=()
	for dir in tests/*/; do
		includes+=("-I$dir" "-I$BUILD/$dir")
	done
	check clang-tidy tidy "${user_files[@]}" -- -std=gnu11 "${cppflags[@]}" "${includes[@]}"
	check cppcheck cppcheck --quiet --error-exitcode=1 --std=c11 --inline-suppr \
		--enable=warning,performance,portability --suppress=missingIncludeSystem \
		--suppress='*:'"$BUILD"'/*' -Iinclude -Iuser -D_GNU_SOURCE -DLB_VERSION='""' -D'LIBBPF_OPTS(T,N,...)=struct T N' \
		"${user_files[@]}"
fi
if [[ ${#bpf_files[@]} -gt 0 ]]; then
	check 'clang-tidy bpf' tidy "${bpf_files[@]}" -- "${bpf_flags[@]}"
fi
check mutants tests/mutants/run --check
check 'early reader' no_early_reader "${shell_files[@]}"
check shellcheck shellcheck -x "${shell_files[@]}"
exit "$failed"
