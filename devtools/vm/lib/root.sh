# SPDX-License-Identifier: BSD-3-Clause
# shellcheck shell=bash
# Another Debian's files, unpacked: what a guest of another architecture, or of a newer suite, has
# for /, and what our programs are built against there. No package's script ever runs.
#
#   arm64            Debian's busybox and the libraries that test programs need; cross-compiled
#                    against, nothing of it runs here
#   trixie forky     a whole user land of a newer suite, with a compiler and its DPDK; programs of
#                    it run here, in devtools/vm/suite, or in a machine that has it for /

root_libraries=(libc6-dev libnuma-dev libxxhash-dev libzstd-dev libjansson-dev libcurl4-openssl-dev
	libmicrohttpd-dev libssl-dev libbsd-dev)

# NAME: architecture, packages, and the repositories they come from.
root_variant() { # root_variant NAME: sets arch, packages, repositories
	case $1 in
	arm64)
		arch=arm64 repositories=(root_sources arm64)
		packages=(busybox-static linux-libc-dev/bookworm-backports "${root_libraries[@]}")
		;;
	trixie | forky)
		arch=amd64 repositories=(repositories_of "deb deb-src" "$1")
		packages=(base-files libc-bin bash coreutils diffutils dash mawk sed grep findutils util-linux mount iproute2 procps gcc ccache meson
			ninja-build pkgconf libdpdk-dev dpdk-dev dpdk linux-libc-dev "${root_libraries[@]}")
		;;
	*) die "no root '$1'" ;;
	esac
}

key_of_root() { # key_of_root NAME
	local arch packages repositories
	root_variant "$1"
	printf '%s\n' "$1" "${packages[@]}"
	declare -f root_download root_unpack make_root
	if [ "$arch" = arm64 ]; then
		declare -f root_sources root_cross
	else
		declare -f root_headers root_finish
	fi
}

# The repositories this machine has, for the other architecture.
root_sources() { # root_sources ARCH
	source_repositories | sed "s/^Types: deb-src$/Types: deb\nArchitectures: $1/"
}

# From an empty machine of that kind, so that all that is needed comes with it.
root_download() { # root_download FOLDER
	local folder=$1
	local -a other=(-o "APT::Architecture=$arch" -o "APT::Architectures=$arch" -o "Dir::State::status=$folder/status")
	rm -rf "$folder/archives" && mkdir -p "$folder"
	"${repositories[@]}" >"$folder/debian.sources" || return
	: >"$folder/status"
	own_apt "$folder" "${other[@]}" -o APT::Update::Error-Mode=any update || { echo "no Debian mirror answers" && return 77; }
	own_apt "$folder" "${other[@]}" install --download-only --no-install-recommends -y "${packages[@]}" || return 1
	[ "$arch" = arm64 ] || root_headers "$folder"
}

# The driver headers of its DPDK, which no package carries: from the source package, as devtools/dpdk-sdk
# does. A mirror may have the packages and not the source: then what needs the headers is left out there.
root_headers() { # root_headers FOLDER: leaves them in FOLDER/sdk, if they are to be had
	local folder=$1 version
	# shellcheck disable=SC2016 # expanded by dpkg
	version=$(dpkg-deb -W --showformat '${source:Version}' "$folder"/archives/libdpdk-dev_*.deb) || return 1
	rm -rf "$folder/source" "$folder/sdk" && mkdir -p "$folder/source"
	(cd "$folder/source" && own_apt "$folder" source --download-only "dpdk=$version") ||
		{ echo "no mirror has the source of dpdk $version: no driver headers" && return 0; }
	dpkg-source --no-check -x "$folder/source"/*.dsc "$folder/source/dpdk" &&
		"$here/../dpdk-sdk" --copy "$folder/source/dpdk" "$folder/sdk"
}

root_unpack() { # root_unpack FOLDER TREE
	local package
	mkdir -p "$2"/{proc,sys,dev,tmp,run,mnt,root,var/tmp,etc}
	for package in "$1"/archives/*.deb; do dpkg-deb -x "$package" "$2" || return 1; done
}

# What scripts of packages would have done, as far as building and running our programs needs it.
root_finish() { # root_finish FOLDER TREE
	rm -rf "$2/var/run" && ln -s /run "$2/var/run" && ln -sf mawk "$2/usr/bin/awk" && ln -sf gcc "$2/usr/bin/cc" &&
		echo 'root:x:0:0:root:/root:/bin/sh' >"$2/etc/passwd" && echo 'root:x:0:' >"$2/etc/group" &&
		{ [ ! -e "$1/sdk" ] || cp -r "$1/sdk" "$2/usr/share/dpdk-sdk"; } && chroot "$2" /usr/sbin/ldconfig
}

# Meson's description of the other machine. Its libraries are found below TREE; so are its
# headers, before those of the cross compiler, whose kernel is older.
root_cross() { # root_cross TREE
	cat <<-END
		[binaries]
		c = ['ccache', 'aarch64-linux-gnu-gcc']
		ar = 'aarch64-linux-gnu-ar'
		strip = 'aarch64-linux-gnu-strip'
		pkg-config = 'pkg-config'
		[properties]
		sys_root = '$1'
		pkg_config_libdir = '$1/usr/lib/aarch64-linux-gnu/pkgconfig:$1/usr/share/pkgconfig'
		[built-in options]
		c_args = ['--sysroot=$1', '-isystem', '$1/usr/include/aarch64-linux-gnu', '-isystem', '$1/usr/include']
		c_link_args = ['--sysroot=$1']
		[host_machine]
		system = 'linux'
		cpu_family = 'aarch64'
		cpu = 'aarch64'
		endian = 'little'
	END
}

make_root() { # make_root NAME FOLDER
	local name=$1 folder=$2 place=$cache/work/root-$1 arch packages repositories
	root_variant "$name"
	step "root-$name: fetch packages" "$folder/fetch.log" "" root_download "$place"
	step "root-$name: unpack" "$folder/unpack.log" "" root_unpack "$place" "$folder/tree"
	if [ "$arch" = arm64 ]; then
		root_cross "${folder%.new}/tree" >"$folder/cross.ini"
		ln -s busybox "$folder/tree/bin/sh" # for scripts
	else
		step "root-$name: finish" "$folder/finish.log" "" root_finish "$place" "$folder/tree"
		rm -rf "$place"
	fi
}
