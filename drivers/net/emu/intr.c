/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Receive interrupts: one eventfd per queue, offered to rte_eth_dev_rx_intr_ctl_q().
 * An interrupt is wanted once per enable; who finds frames while it is wanted (the
 * device half that delivers, the driver that enables) takes the wish and writes.
 */
#include <errno.h>
#include <unistd.h>

#include <sys/eventfd.h>

#include <rte_interrupts.h>

#include "emu_priv.h"

static int
intr_fill(struct rte_intr_handle *h, unsigned int n)
{
	if (rte_intr_type_set(h, RTE_INTR_HANDLE_VDEV) != 0 || rte_intr_fd_set(h, -1) != 0 ||
		rte_intr_event_list_update(h, (int)n + 1) != 0 ||
		rte_intr_vec_list_alloc(h, "emu", (int)n) != 0 || rte_intr_nb_efd_set(h, 0) != 0 ||
		rte_intr_max_intr_set(h, (int)n + 1) != 0 ||
		rte_intr_efd_counter_size_set(h, sizeof(uint64_t)) != 0)
		return -ENOMEM;
	for (unsigned int i = 0; i < n; i++) {
		int fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);

		if (fd < 0)
			return -errno;
		if (rte_intr_efds_index_set(h, (int)i, fd) != 0 ||
			rte_intr_vec_list_index_set(
				h, (int)i, (int)(RTE_INTR_VEC_RXTX_OFFSET + i)) != 0 ||
			rte_intr_nb_efd_set(h, (int)i + 1) != 0) {
			close(fd);
			return -ENOMEM;
		}
	}
	return 0;
}

int
emu_intr_create(struct rte_eth_dev *dev)
{
	int rc;

	dev->intr_handle = rte_intr_instance_alloc(RTE_INTR_INSTANCE_F_PRIVATE);
	if (dev->intr_handle == NULL)
		return -ENOMEM;
	rc = intr_fill(dev->intr_handle, emu_of(dev)->max_queues);
	if (rc != 0)
		emu_intr_destroy(dev);
	return rc;
}

void
emu_intr_destroy(struct rte_eth_dev *dev)
{
	struct rte_intr_handle *h = dev->intr_handle;

	if (h == NULL)
		return;
	for (int i = 0; i < rte_intr_nb_efd_get(h); i++)
		close(rte_intr_efds_index_get(h, i));
	rte_intr_free_epoll_fd(h);
	rte_intr_vec_list_free(h);
	rte_intr_instance_free(h);
	dev->intr_handle = NULL;
}

int
emu_rx_intr_enable(struct rte_eth_dev *dev, uint16_t id)
{
	struct emu_rxq *q = dev->data->rx_queues[id];
	const uint64_t one = 1;

	__atomic_store_n(&q->regs->armed, 1, __ATOMIC_RELAXED);
	__atomic_thread_fence(__ATOMIC_SEQ_CST); /* pairs with the fence of raise_one */
	if (q->head == q->tail ||
		(__atomic_load_n(&q->ring[q->head & q->mask].word, __ATOMIC_RELAXED) &
			EMU_DESC_DONE) == 0)
		return 0;
	if (__atomic_exchange_n(&q->regs->armed, 0, __ATOMIC_ACQ_REL) != 0)
		(void)!write(q->irq, &one, sizeof(one));
	return 0;
}

int
emu_rx_intr_disable(struct rte_eth_dev *dev, uint16_t id)
{
	struct emu_rxq *q = dev->data->rx_queues[id];

	__atomic_store_n(&q->regs->armed, 0, __ATOMIC_RELAXED);
	return 0;
}
