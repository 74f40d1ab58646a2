# SPDX-License-Identifier: BSD-3-Clause
# shellcheck shell=bash
# What building a kernel and building QEMU have in common.
#
# An *artifact* is a folder in the cache, named after what it is and after a hash of
# everything it is made from: `kernel-type1-3f9c0a61b2d4`. It is complete when it is there,
# for it is filled beside its place and moved there. A *step* is one command of a build: it
# shows that it goes on, keeps its output in a log, and when it fails names itself and that log.
#
#   $cache/NAME-KEY/      artifacts, and what the build printed
#   $cache/work/          unpacked sources and objects: may be deleted at any time
#   $cache/ccache/        so that a change of one line costs little

cache=${WHERRY_CACHE:-${XDG_CACHE_HOME:-/var/cache}/wherry}/vm
export CCACHE_DIR=$cache/ccache CCACHE_MAXSIZE=3G
# shellcheck disable=SC2034 # not everybody builds
jobs=${WHERRY_JOBS:-$(nproc)}

# 77 says "not possible here", as in the tests: a package or the network is missing.
cannot() {
	echo "devtools/vm: $*" >&2
	exit 77
}

die() {
	echo "devtools/vm: $*" >&2
	exit 1
}

say() { printf 'devtools/vm: %s\n' "$*" >&2; }

# Twelve digits for what comes in.
short_hash() { sha256sum | cut -c1-12; }

# What a build made so far, for people: lines of its log, of about TOTAL.
show_step() { # show_step NAME LOG TOTAL SECONDS
	local lines
	lines=$(wc -l <"$2")
	if [ -t 2 ]; then
		printf '\r\033[K%s: %d lines%s (%d s)' "$1" "$lines" "${3:+ of about $3}" "$4" >&2
	elif [ $(($4 % 30)) -eq 0 ]; then
		say "... $1: $lines lines${3:+ of about $3} ($4 s)"
	fi
}

# Run one step of a build. TOTAL is how many lines it prints, about, or nothing.
step() { # step NAME LOG TOTAL COMMAND...
	local name=$1 log=$2 total=$3 start=$SECONDS shown=0 pid status=0
	shift 3
	"$@" >"$log" 2>&1 </dev/null &
	pid=$!
	while kill -0 "$pid" 2>/dev/null; do
		sleep 0.2
		if [ $((SECONDS - start)) -gt "$shown" ]; then
			shown=$((SECONDS - start))
			show_step "$name" "$log" "$total" "$shown"
		fi
	done
	[ ! -t 2 ] || printf '\r\033[K' >&2
	wait "$pid" || status=$?
	[ "$status" -ne 77 ] || cannot "$name: $(tail -n 1 "$log")"
	if [ "$status" -ne 0 ]; then
		tail -n 30 "$log" | sed 's/^/    /' >&2
		die "$name failed (status $status); all of it: $log"
	fi
	say "$name ($((SECONDS - start)) s)"
}

# The folder of an artifact; it is there only when it is complete.
artifact() { # artifact NAME: needs a function key_NAME-with-underscores
	local name=$1
	echo "$cache/$name-$("key_of_${name%%-*}" "${name#*-}" | short_hash)"
}

# Make an artifact unless it is there; one builder at a time, the others wait for it.
need_artifact() { # need_artifact NAME
	local name=$1 place
	place=$(artifact "$name") || exit
	if [ ! -d "$place" ]; then
		mkdir -p "$cache/work" "$cache/ccache"
		exec 8>"$cache/work/lock"
		flock --nonblock 8 || { say "$name: waiting for another build" && flock 8; }
		if [ ! -d "$place" ]; then
			rm -rf "$place.new"
			mkdir "$place.new"
			"make_${name%%-*}" "${name#*-}" "$place.new"
			mv "$place.new" "$place"
		fi
		exec 8>&-
	fi
	echo "$place"
}

# Where apt gets packages of Debian: URI, suite and component, a line each.
debian_repositories() {
	local lines
	# shellcheck disable=SC2016 # apt's own variables
	lines=$(apt-get indextargets --format '$(REPO_URI) $(RELEASE) $(COMPONENT)' 'Identifier: Packages' |
		sed -n '/^[^ ]*debian/p' | sort -u)
	[ -n "$lines" ] || { echo "apt knows no Debian repository: apt-get update" && return 77; } >&2
	echo "$lines"
}

repository() { # repository TYPES URI SUITE COMPONENTS
	printf 'Types: %s\nURIs: %s\nSuites: %s\nComponents: %s\nSigned-By: %s\n\n' \
		"$@" /usr/share/keyrings/debian-archive-keyring.gpg
}

# All of them, as a file of source repositories.
source_repositories() {
	local lines
	lines=$(debian_repositories) || return
	while read -r uri suite component; do
		repository deb-src "$uri" "$suite" "$component"
	done <<<"$lines"
}

# The same archive's other suites, as a file of repositories: deb or "deb deb-src".
repositories_of() { # repositories_of TYPES SUITE...
	local archive suite
	archive=$(debian_repositories) || return
	archive=$(sed '/security/d;s/ .*//;q' <<<"$archive")
	for suite in "${@:2}"; do
		repository "$1" "$archive" "$suite" main
	done
}

# apt with lists of its own in FOLDER: the machine's configuration stays as it is.
own_apt() { # own_apt FOLDER COMMAND...
	local folder=$1
	shift
	mkdir -p "$folder/lists/partial" "$folder/archives/partial"
	apt-get -qq -o "Dir::Etc::sourcelist=$folder/debian.sources" -o "Dir::Etc::sourceparts=-" \
		-o "Dir::State::lists=$folder/lists" -o "Dir::Cache::archives=$folder/archives" \
		-o "APT::Sandbox::User=$(id -un)" "$@"
}
