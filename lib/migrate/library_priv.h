/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef LIBRARY_PRIV_H
#define LIBRARY_PRIV_H

/* What wherry_agent_add_library() has added. */

struct mig_library;

/* The first and all behind it; NULL is fine. */
void mig_libraries_free(struct mig_library *first);

#endif /* LIBRARY_PRIV_H */
