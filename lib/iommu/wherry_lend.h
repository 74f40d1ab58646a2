/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef WHERRY_LEND_H
#define WHERRY_LEND_H

#include <wherry_iommu.h>

WHERRY_BEGIN_DECLS

/**
 * @file
 * A domain goes to another process of this machine with its devices, as files (SCM_RIGHTS). The
 * devices' files stay open all the while: the kernel resets nothing, and DMA goes on to where it went.
 *
 *     the process that has it                 the one that goes on
 *     wherry_domain_lend()       -- files -->  wherry_domain_borrow()
 *                                              wherry_domain_map_file() of what it wants to keep
 *     drives the devices no more
 *                                -- yours -->  wherry_domain_own()
 *     wherry_domain_let_go()                   wherry_device_open(), wherry_device_attach()
 *
 * Until own the borrower changes nothing, neither devices nor what is mapped: it may destroy the
 * domain at any time, or die, and the lender goes on as before. When it is "yours", is for the
 * two of them to agree upon; the migration agent (wherry_migrate.h) has COMMIT for it.
 *
 * From lend until wherry_domain_keep() the domain may be another's, and a lender need not know
 * (WHERRY_STATE_UNKNOWN): to detach or close its devices and to destroy it then closes files and frees
 * memory, and nothing else. Whoever has the files as well does not notice; if nobody has, the kernel takes
 * all of it down with the last one. Everything else works as ever while it is lent, for the lender goes on:
 * having said "yours", and not knowing, it has to leave mappings, tracking and registers alone.
 *
 * Before own, and after let_go, calls that would change anything are -EPERM. Mappings lent stay
 * until it is decided.
 *
 * Errors:  0 or -errno; a call that fails has changed nothing, except where it says so.
 * Threads: as wherry_iommu.h.
 */

#define WHERRY_LENT_DEVICES 16u                        /**< as many at most */
#define WHERRY_DOMAIN_FILES (WHERRY_LENT_DEVICES + 2u) /**< as many at most */

/** A description, the IOMMU's file, those of the devices: in this order. */
struct wherry_domain_files {
	unsigned int n;              /**< how many there are */
	int fd[WHERRY_DOMAIN_FILES]; /**< the holder's, to close */
};
/** Close them. */
void wherry_domain_files_close(struct wherry_domain_files *files);

/**
 * What another process needs: new descriptors, the caller's. Of mappings, those of files are named.
 *
 * While it is lent, wherry_domain_granule_prepare() is -EBUSY.
 *
 * @retval -EOPNOTSUPP this backend cannot
 * @retval -EBUSY another granule is being prepared
 * @retval -ENOSPC there are more devices than WHERRY_LENT_DEVICES, or more than 65536 files mapped
 * @retval -EPERM it is another's
 * @retval -ENOMEM no memory, or too many files are open
 */
int wherry_domain_lend(struct wherry_domain *dom, struct wherry_domain_files *ret_files)
	WHERRY_MUST_CHECK;
/**
 * It was lent, and it is certain that nobody will own it: refused, or given up. It is taken down again as
 * any other. Harmless if it was not lent, or is another's.
 */
void wherry_domain_keep(struct wherry_domain *dom);
/**
 * A domain that is another's until wherry_domain_own(). The files are the domain's on success;
 * on failure they stay the caller's. Nothing in them is trusted but what the kernel says.
 *
 * wherry_domain_map_file() keeps a mapping: the same file, offset, span and protections as the
 * lender's (-ENOENT: there is none such). The kernel is not called for it.
 *
 * @retval -EPROTO a file is missing, too much, or none of what it should be
 * @retval -EOPNOTSUPP no backend here has that kind
 * @retval -ENOMEM no memory
 */
int wherry_domain_borrow(const struct wherry_domain_files *files, struct wherry_domain **ret_dom)
	WHERRY_MUST_CHECK;

/** What became of mappings when a domain changed hands. */
enum wherry_mappings {
	WHERRY_MAPPINGS_NONE,    /**< there were none */
	WHERRY_MAPPINGS_KEPT,    /**< they are as they were; the kernel counts them as ours now */
	WHERRY_MAPPINGS_REBUILT, /**< this kernel cannot do that: unmapped, and mapped anew */
};
/** "none", "kept", "rebuilt". */
const char *wherry_mappings_name(enum wherry_mappings mappings);
/**
 * The borrowed domain is ours: mappings that were not asked for go, tracking is off, those kept become this
 * process's (wherry_domain_claim()). Where that cannot be had they are made anew, and DMA
 * that goes on meanwhile faults. The devices come by their names: wherry_device_open() and
 * wherry_device_attach(), which finds them attached already.
 *
 * @retval -EINVAL it is ours already
 * @retval -ENOMEM what was kept cannot be mapped anew: the domain is ours, mappings are missing
 *
 * Others as wherry_domain_map().
 */
int wherry_domain_own(struct wherry_domain *dom, enum wherry_mappings *ret_mappings)
	WHERRY_MUST_CHECK;
/**
 * The domain that was lent is another's: nothing that this process does reaches its devices
 * any more, whether through the domain, their files, or their registers where they are mapped
 * (reads give 0, writes are lost). It is closed and destroyed as any other.
 *
 * @retval -EOPNOTSUPP this backend cannot
 * @retval -ENOMEM it cannot be had; neither device nor domain are to be touched by this process
 */
int wherry_domain_let_go(struct wherry_domain *dom) WHERRY_MUST_CHECK;

WHERRY_END_DECLS

#endif /* WHERRY_LEND_H */
