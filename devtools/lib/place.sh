# SPDX-License-Identifier: BSD-3-Clause
# shellcheck shell=bash
# DPDK's EAL loads no plugin from below a folder that anybody may write to, and a clone
# in /tmp is below one. As root there is a way: the same tree, bound to another path in
# a mount namespace of our own, which ends with us.

world_writable_parent() { # of the current folder; fails if there is none
	local folder=$PWD
	while [ "$folder" != / ]; do
		if [ -n "$(find "$folder" -maxdepth 0 -perm -o=w)" ]; then
			echo "$folder"
			return 0
		fi
		folder=$(dirname "$folder")
	done
	return 1
}

# Returns if all is well; else it starts the script again where all is.
leave_world_writable() { # leave_world_writable SCRIPT [ARGUMENT...]
	local folder
	folder=$(world_writable_parent) || return 0
	if [ "$(id -u)" -ne 0 ]; then
		echo "EAL loads no plugin from below $folder, which is world-writable: move the tree, or be root"
		return 0
	fi
	echo "EAL loads no plugin from below $folder, which is world-writable: the tree is /mnt/wherry here"
	# shellcheck disable=SC2016 # expanded in there
	exec unshare --mount bash -ec '
		mount -t tmpfs -o mode=755 wherry /mnt
		mkdir /mnt/wherry
		mount --bind "$PWD" /mnt/wherry
		cd /mnt/wherry
		exec "$@"' bash "$@"
}
