/* SPDX-License-Identifier: BSD-3-Clause */
#include <sys/mman.h>
#include <unistd.h>

#include "net.h"

struct net_external
net_external_of(unsigned int room)
{
	struct net_external e = { .span = { .len = EXTERNAL_BYTES } };
	struct rte_pktmbuf_extmem area = { .buf_len = EXTERNAL_BYTES, .elt_size = (uint16_t)room };
	int fd = memfd_create("external", MFD_CLOEXEC);

	net_need();
	CHECK(fd >= 0 && ftruncate(fd, EXTERNAL_BYTES) == 0);
	e.vaddr = mmap(
		NULL, EXTERNAL_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd, 0);
	CHECK(e.vaddr != MAP_FAILED);
	e.span.iova = (uintptr_t)e.vaddr;
	CHECK_EQ(wherry_dpdk_domain_get(NULL, &e.dom), 0);
	CHECK_EQ(wherry_domain_map_file(e.dom, fd, 0, WHERRY_DMA_READ | WHERRY_DMA_WRITE, &e.span),
		0);
	close(fd);
	area.buf_ptr = e.vaddr;
	area.buf_iova = e.span.iova;
	e.mp = rte_pktmbuf_pool_create_extbuf(
		"external", EXTERNAL_BYTES / room, 0, 0, (uint16_t)room, SOCKET_ID_ANY, &area, 1);
	CHECK(e.mp != NULL);
	return e;
}

struct net_external
net_external(void)
{
	return net_external_of(EXTERNAL_ROOM);
}

void
net_external_drop(struct net_external *e)
{
	rte_mempool_free(e->mp);
	(void)wherry_domain_unmap(e->dom, e->span);
	munmap(e->vaddr, EXTERNAL_BYTES);
	wherry_dpdk_domain_put(e->dom);
}
