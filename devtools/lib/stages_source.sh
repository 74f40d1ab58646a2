# SPDX-License-Identifier: BSD-3-Clause
# shellcheck shell=bash
# Stages that read the source and run nothing: source, headers, static, docs.

# What is sourced is read together with what sources it.
shell_scripts() {
	sources | while IFS= read -r file; do
		case $file in
		devtools/lib/* | devtools/vm/lib/*) ;;
		*.sh) echo "$file" ;;
		*) ! head -c 64 "$file" 2>/dev/null | head -n 1 | grep -qE '^#!.*\b(ba)?sh\b' || echo "$file" ;;
		esac
	done
}

format_is_clean() { sources '*.[ch]' | xargs clang-format --dry-run -Werror; }
spelling_is_clean() { sources | grep -v '^app/fuzz/corpus/' | xargs codespell -I devtools/words; }
shell_is_clean() { shell_scripts | xargs shellcheck -x -a; }

stage_source() {
	check "layers" devtools/check-layers.py
	check "format" format_is_clean
	check "spelling" spelling_is_clean
	check "shell scripts" shell_is_clean
	check "licence lines" devtools/check-spdx
	check "who loses a write" devtools/check-outcomes.py
}

public_headers() { sources 'lib/*/wherry_*.h' 'drivers/*/wherry_*.h' | grep -v '_driver\.h$'; }

# A header for everyone compiles alone, in the oldest C and C++ that we promise.
header_stands_alone() { # header_stands_alone COMPILER STANDARD LANGUAGE HEADER
	local compiler=$1 standard=$2 language=$3 header=$4 folder
	local -a include=()
	for folder in lib/*/ drivers/*/*/; do include+=("-I$folder"); done
	"$compiler" "-std=$standard" -pedantic -Wall -Wextra -Werror -fsyntax-only \
		"${include[@]}" -x "$language" "$header"
}

stage_headers() {
	local header
	while IFS= read -r header; do
		check "$header is C11" header_stands_alone gcc c11 c "$header"
		check "$header is C++11" header_stands_alone g++ c++11 c++ "$header"
	done < <(public_headers)
}

tidy_is_clean() {
	sed -n 's/^ *"file": "\.\.\/\(.*\)".*/\1/p' build-clang/compile_commands.json | sort -u |
		xargs -P "$(nproc)" -n 4 clang-tidy -quiet -p build-clang 2>/dev/null
}

# cppcheck reads no system headers, but without these macros it cannot read ours.
cppcheck_is_clean() {
	local queue
	queue=$(echo '#include <sys/queue.h>' | gcc -M -xc - | grep -o '/[^ ]*sys/queue\.h')
	cppcheck -q -j "$(nproc)" --project=build-clang/compile_commands.json --inline-suppr \
		--enable=warning,performance,portability --include="$queue" --include=/usr/include/bsd/sys/tree.h \
		--include=/usr/include/jansson.h --error-exitcode=2
}

stage_static() {
	need_clang || return
	limit=1200 check "clang-tidy" tidy_is_clean
	limit=300 check "cppcheck" cppcheck_is_clean
}

# Every header for everyone is in the API reference: a new one may not be forgotten.
reference_is_complete() {
	local header missing=0
	while IFS= read -r header; do
		grep -q "doxygenfile:: ${header##*/}\$" doc/api.rst && continue
		echo "doc/api.rst: ${header##*/} is missing"
		missing=1
	done < <(public_headers)
	return "$missing"
}

# Every page names the files it talks about, and the ones it names exist.
pages_name_files() {
	local page file bad=0 folders='(lib|drivers|app|examples|devtools|doc)'
	for page in doc/*.rst; do
		grep -qE "\`\`(README|meson|$folders/)" "$page" || { echo "$page: names no file"; bad=1; }
		while IFS= read -r file; do
			[ -n "$(compgen -G "$file")" ] || { echo "$page: $file does not exist"; bad=1; }
		done < <(grep -oE "\`\`$folders/[A-Za-z0-9_./*-]+\`\`" "$page" | tr -d '`')
	done
	return "$bad"
}

doxygen_is_clean() { mkdir -p build-doc && doxygen doc/Doxyfile; }
sphinx_is_clean() { sphinx-build -q -W --keep-going doc build-doc/html; }

stage_docs() {
	check "pages name their files" pages_name_files
	check "reference is complete" reference_is_complete
	check "doxygen" doxygen_is_clean && check "sphinx" sphinx_is_clean
}
