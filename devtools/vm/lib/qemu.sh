# SPDX-License-Identifier: BSD-3-Clause
# shellcheck shell=bash
# QEMU 10.0 from Debian's source package, with dirty bits in its IOMMUs (qemu/*.diff).
#
# The diffs are of our own lines and have no context: they fit this version only, and patch
# says so when they do not. A variant is a target, x86_64 or aarch64; the one of x86_64 holds
# a second program, the negative control: a VT-d that forgets.

qemu_version=10.0.2
qemu_diffs=("$here"/qemu/000?-*.diff)

key_of_qemu() { # key_of_qemu TARGET
	cat "${qemu_diffs[@]}" "$here/qemu/naive-vtd.diff" "$here/qemu/options" "$here/qemu/devices-$1.mak"
	echo "$qemu_version"
	declare -f qemu_unpack qemu_configure make_qemu
}

# Only the original tarball is needed; a mirror that has lost the rest of the package will do.
qemu_fetch() { # qemu_fetch FOLDER: leaves qemu.tar.xz in it
	local folder=$1
	mkdir -p "$folder"
	source_repositories >"$folder/debian.sources" || return
	own_apt "$folder" update || { echo "no Debian mirror answers" && return 77; }
	(cd "$folder" && own_apt "$folder" source --download-only "qemu=$(qemu_package "$folder")") ||
		echo "not all of the source package is there; the tarball may be"
	mv "$folder"/qemu_"$qemu_version"*.orig.tar.xz "$folder/qemu.tar.xz" ||
		{ echo "no repository has the source of QEMU $qemu_version: add bookworm-backports" && return 77; }
}

qemu_package() { # qemu_package FOLDER: the newest version of the source package that is ours
	apt-cache -o "Dir::Etc::sourcelist=$1/debian.sources" -o "Dir::Etc::sourceparts=-" \
		-o "Dir::State::lists=$1/lists" showsrc qemu |
		sed -n "s/^Version: \(1:$qemu_version.*\)/\1/p" | sort -V | tail -n 1
}

qemu_unpack() { # qemu_unpack TARBALL TREE TARGET
	local diff
	rm -rf "$2" && mkdir -p "$2" && tar --no-same-owner --strip-components=1 -C "$2" -xf "$1" || return 1
	for diff in "${qemu_diffs[@]}"; do patch -d "$2" -p1 --fuzz=0 <"$diff" || return 1; done
	# the package has no firmware, and configure looks for it even when it is not to be installed
	sed -i "s/unpack_edk2_blobs = bzip2.found()/& and get_option('install_blobs')/" "$2/meson.build"
	cp "$here/qemu/devices-$3.mak" "$2/configs/devices/$3-softmmu/wherry.mak"
}

qemu_configure() { # qemu_configure TREE OBJECTS TARGET
	local -a options=("--target-list=$3-softmmu" "--with-devices-$3=wherry")
	case $3 in
	x86_64) options+=(--disable-pie -Dc_link_args=-no-pie) ;;
	*) options+=(--enable-pie) ;;
	esac
	mapfile -t -O "${#options[@]}" options < <(grep -v '^#' "$here/qemu/options")
	rm -rf "$2" && mkdir -p "$2" && cd "$2" &&
		CC="ccache gcc" "$1/configure" --python=/usr/bin/python3 "${options[@]}"
}

make_qemu() { # make_qemu TARGET FOLDER
	local target=$1 folder=$2 tree=$cache/work/qemu-$1 objects=$cache/work/qemu-$1-objects
	local tarball=$cache/work/qemu-source/qemu.tar.xz program=qemu-system-$1
	[ -e "$tarball" ] || step "qemu: fetch the source" "$folder/fetch.log" "" qemu_fetch "${tarball%/*}"
	step "qemu-$target: unpack" "$folder/unpack.log" "" qemu_unpack "$tarball" "$tree" "$target"
	step "qemu-$target: configure" "$folder/configure.log" "" qemu_configure "$tree" "$objects" "$target"
	step "qemu-$target: compile" "$folder/compile.log" 1350 ninja -C "$objects" "-j$jobs" "$program"
	cp "$objects/$program" "$folder/"
	[ "$target" = x86_64 ] || return 0
	patch -s -d "$tree" -p1 --fuzz=0 <"$here/qemu/naive-vtd.diff"
	step "qemu-$target: compile the naive one" "$folder/naive.log" "" ninja -C "$objects" "-j$jobs" "$program"
	cp "$objects/$program" "$folder/$program-naive"
}
