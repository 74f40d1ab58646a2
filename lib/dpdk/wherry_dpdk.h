/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef WHERRY_DPDK_H
#define WHERRY_DPDK_H

#include <wherry_iommu.h>
#include <wherry_mem.h>
#include <wherry_migrate.h>

WHERRY_BEGIN_DECLS

/**
 * @file
 * Wherry in a DPDK process: EAL memory in a domain, packet buffers in an arena, and
 * an application that can be migrated with five calls:
 *
 *	wherry_app_create(&opts, &app);                  after rte_eal_init
 *	wherry_app_add_arena(app, &region, &arena);      state that moves
 *	wherry_app_add_port(app, port);                  configured, not started
 *	wherry_app_start(app);                           serve, or wait for a peer's state
 *	while (wherry_app_poll(app)) { rx, work, tx }    in each polling core
 *	wherry_app_destroy(app);
 *
 * Threads: calls on one app come from one thread, but poll, which is for any core.
 * Source:  DPDK programmer's guide: EAL memory events, mbuf external buffers, ethdev.
 */

struct rte_ether_addr;
struct rte_mbuf;
struct rte_mempool;

/**
 * The domain of this process: made at the first call, after rte_eal_init, with all EAL
 * memory in it, now and later, at iova == virtual address. @p spec NULL: the domain
 * that is there, else "soft". Memory that cannot be mapped when it comes later is
 * counted, see wherry_dpdk_domain_get_stats(). Memory of rte_extmem_register() is the
 * application's to map (rte_dev_dma_map); that of rte_malloc heaps is mapped.
 *
 * @retval -EBUSY it exists with another spec
 * @retval -EINVAL EAL has not been started, or not with virtual I/O addresses, or external
 *         memory was given to it at others
 * @retval -EOVERFLOW EAL's memory lies outside of what the domain can address
 */
int wherry_dpdk_domain_get(const char *spec, struct wherry_domain **ret_dom) WHERRY_MUST_CHECK;
/** Let go of it; the last put unmaps EAL memory and destroys it. NULL is fine. */
void wherry_dpdk_domain_put(struct wherry_domain *dom);

/** How EAL's memory stands in the domain of this process. */
struct wherry_dpdk_domain_stats {
	uint64_t maps;   /**< mappings made since the first get */
	uint64_t unmaps; /**< pieces of memory that went away again */
	uint64_t failed; /**< pieces that could not be mapped: devices cannot reach them */
	uint64_t
		by_address; /**< mappings without a file behind: no second mapping for a device half */
	bool degraded;      /**< failed is not 0: a migration would miss what lies there */
};

/** Fill @p ret_stats; all zero when there is no domain. */
void wherry_dpdk_domain_get_stats(struct wherry_dpdk_domain_stats *ret_stats);

struct wherry_app;

/** What the application adds to a migration. Every op may be NULL. */
struct wherry_app_ops {
	/**
	 * Destination: arenas are open and sound; look for what is needed. The source can
	 * still go on, and receive queues are stopped: wherry_pktpool_adopt() belongs
	 * here. -errno: refuse it.
	 */
	int (*verify)(void *ctx);
	/**
	 * Destination, ports running: set pointers to code again, announce yourself. Then
	 * polling begins. -errno: nobody runs, for the source has gone.
	 */
	int (*rebind)(void *ctx);
	/** Source: about to be stopped for good, or for a failed try. Cores are parked, ports run. */
	void (*parked)(void *ctx);
	void *ctx; /**< handed to each */
};

/** How an application takes part. */
struct wherry_app_opts {
	const char *name;      /**< of the application; see wherry_agent_opts */
	const char *control;   /**< control socket, NULL: by name */
	const char *incoming;  /**< URI to listen on; NULL: serve at once */
	const char *arbiter;   /**< who decides who owns, see wherry_agent_opts; NULL: nobody */
	struct wherry_tls tls; /**< keys, see wherry_agent_opts; all NULL: none */
	bool insecure;         /**< TCP beyond loopback is fine without keys */
	const char *iommu;     /**< domain spec; NULL: the domain that is there, else "soft" */
	unsigned int pollers;  /**< cores that call wherry_app_poll(), exactly; 0: 1 */
	enum wherry_cpu_source cpu; /**< how CPU writes are known */
	/**
	 * Frames that reach a source after it has stopped go to the destination and are the
	 * first that its queues give. Until then they lie in receive buffers, so ports go on
	 * receiving while the last pages are sent: only for queues whose mbufs' data is of a
	 * wherry_pktpool, or in memory that does not move.
	 */
	bool late_frames;
	unsigned int harvest_ms;   /**< harvest this often even without a migration; 0: no */
	struct wherry_app_ops ops; /**< copied */
};

/**
 * After rte_eal_init. Cores that poll already wait until wherry_app_start().
 *
 * Errors as wherry_agent_create(), wherry_tracker_create(), wherry_dpdk_domain_get().
 */
int wherry_app_create(const struct wherry_app_opts *opts, struct wherry_app **ret_app)
	WHERRY_MUST_CHECK;
/**
 * Stop what is under way, stop the ports, forget all memory and free. No core polls any
 * more. Arenas of add_arena are gone; regions of add_region and ports stay, for their
 * owners to destroy and close. NULL is fine.
 */
void wherry_app_destroy(struct wherry_app *app);
/**
 * Memory that moves, before start: made at @p opts->vaddr, mapped for devices at the
 * same I/O address, watched. This process writes it, and secondaries that have attached
 * (wherry_secondary.h): no migration begins (-EBUSY) while wherry_region_find_writer() finds
 * another process, which is logged. Serving: a fresh arena in @p *ret_arena. Incoming: NULL;
 * from ops.verify on wherry_app_arena() has the peer's.
 *
 * @retval -EINVAL no address
 * @retval -EEXIST that name is taken; something else is mapped there, in the process or
 *         in the domain
 *
 * Others as wherry_region_create(), wherry_domain_map_file(), wherry_watch_create().
 */
int wherry_app_add_arena(struct wherry_app *app, const struct wherry_region_opts *opts,
	struct wherry_arena **ret_arena) WHERRY_MUST_CHECK;
/** The same for a region that is there already; it stays the caller's and outlives the app. */
int wherry_app_add_region(struct wherry_app *app, struct wherry_region *region) WHERRY_MUST_CHECK;
/** The watch of the arena or region of that name, for filters and the like; NULL: none. */
struct wherry_watch *wherry_app_watch(struct wherry_app *app, const char *name);
/** The arena of that name, or NULL when its bytes are not here yet. */
struct wherry_arena *wherry_app_arena(struct wherry_app *app, const char *name);
/**
 * A port that moves: its MAC address, MTU, promiscuous and all-multicast mode, RSS and its
 * started state are restored at the destination; there its queues are configured and
 * it is started before, but its receive queues are stopped until takeover, so that no
 * frame is written where the peer's bytes arrive. A PMD that cannot stop a queue has
 * its port started at takeover. All before start; configured, not started.
 *
 * @retval -ENODEV no such port
 * @retval -EEXIST it was added
 */
int wherry_app_add_port(struct wherry_app *app, uint16_t port) WHERRY_MUST_CHECK;
/**
 * A port of an application that knows nothing of Wherry, which configured it, starts it and
 * polls it: in place of add_port, before start. Its cores are parked in a callback behind
 * their receive bursts; which they are is learnt from the bursts. A source's port is stopped
 * and started around them; when another process has taken over, the cores stay parked until
 * destroy. A destination's port drops what it receives until takeover; a different MTU is
 * refused, for it runs. Errors as add_port; -ENOMEM: no memory.
 *
 * Cores that poll have lcore ids, or a migration fails with -EOPNOTSUPP.
 */
int wherry_app_adopt_port(struct wherry_app *app, uint16_t port) WHERRY_MUST_CHECK;
/**
 * Watch all of EAL's memory as it is now, in pieces named "eal.0", "eal.1" and so on. It moves as
 * bytes, to regions of these names at the same addresses: where those lie over another EAL's
 * memory nothing would work, so that one is started with another --base-virtaddr. A secondary process
 * writes it untracked: no migration begins (-EBUSY) while there is one that this process may look into.
 *
 * @retval -EOPNOTSUPP its memory comes and goes: --no-huge and --legacy-mem prevent that
 * @retval -ENOSPC it is in more than 64 pieces
 *
 * Others as wherry_watch_create().
 */
int wherry_app_add_eal(struct wherry_app *app) WHERRY_MUST_CHECK;
/**
 * The multicast addresses that @p port receives, up to 64, in place of those before; and a
 * VLAN that it lets in or not. As rte_eth_dev_set_mc_addr_list() and
 * rte_eth_dev_vlan_filter(), which tell nobody what was set: what is set here moves, as do
 * RSS types, key and table and the treatment of VLAN tags (rte_eth_dev_set_vlan_offload()), and
 * the destination refuses by name what it cannot have.
 *
 * @retval -ENODEV the port was not added
 * @retval -EINVAL no multicast address; no VLAN
 * @retval -ENOSPC too many
 * @retval -EOPNOTSUPP the PMD cannot
 */
int wherry_app_set_multicast(struct wherry_app *app, uint16_t port,
	const struct rte_ether_addr *addrs, unsigned int n) WHERRY_MUST_CHECK;
/** See wherry_app_set_multicast(). */
int wherry_app_set_vlan(struct wherry_app *app, uint16_t port, uint16_t vlan, bool on)
	WHERRY_MUST_CHECK;
struct rte_flow_attr;
struct rte_flow_item;
struct rte_flow_action;
struct rte_flow_error;

/**
 * A rule of @p port, up to 64, as rte_flow_create() makes one; *ret_id is its number, which it
 * has at the destination, too. It is made again whenever the port starts. What moves looks at
 * headers (Ethernet, VLAN, IPv4, IPv6, UDP, TCP, SCTP, ICMP) and drops, marks, flags, counts,
 * passes on, jumps, or chooses a queue; where RSS would choose it, see wherry_app_set_multicast().
 * Not while the application is stopped for a migration. @p error may be NULL.
 *
 * @retval -ENODEV the port was not added
 * @retval -EOPNOTSUPP the PMD cannot, or the rule is none that moves: @p error says which
 * @retval -ENOSPC there are too many, or it is too long
 *
 * Others as rte_flow_create().
 */
int wherry_app_create_flow(struct wherry_app *app, uint16_t port, const struct rte_flow_attr *attr,
	const struct rte_flow_item *pattern, const struct rte_flow_action *actions,
	unsigned int *ret_id, struct rte_flow_error *error) WHERRY_MUST_CHECK;
/** Take it away. -ENODEV: the port was not added; -ENOENT: there is no such rule. */
int wherry_app_destroy_flow(struct wherry_app *app, uint16_t port, unsigned int id)
	WHERRY_MUST_CHECK;
/**
 * Serving: start ports and answer the control socket; cores poll. Incoming: do so, then
 * wait for a peer's state; 0: this process owns it now and cores poll; -errno: it came
 * to nothing, reason logged, ports stopped. -ECANCELED: wherry_app_quit() was called.
 */
int wherry_app_start(struct wherry_app *app) WHERRY_MUST_CHECK;
/**
 * Once per burst loop: a core that is to be parked waits here, outside of every PMD.
 * False: leave the loop, another process runs now or the application is to end.
 * Costs one load when nothing is asked; a core that waits sleeps.
 */
bool wherry_app_poll(struct wherry_app *app);
/** Readable when a core that sleeps should poll: add it to the set it sleeps on. */
int wherry_app_wake_fd(struct wherry_app *app);
/** Make every poll return false. Safe in a signal handler. */
void wherry_app_quit(struct wherry_app *app);
/** The agent inside, for status and migrate. */
struct wherry_agent *wherry_app_agent(struct wherry_app *app);
/** The domain inside. */
struct wherry_domain *wherry_app_domain(struct wherry_app *app);

struct wherry_pktpool;

/** Shape of a pool of packet buffers. */
struct wherry_pktpool_opts {
	const char *name;    /**< of the mempool */
	unsigned int mbufs;  /**< mbufs in the mempool, each with a buffer; best 2^n - 1 */
	unsigned int spares; /**< buffers beyond those: how many can be kept at a time */
	unsigned int
		room; /**< bytes of a buffer, headroom included; a power of two up to 4096 divides pages evenly */
	unsigned int cache; /**< mempool cache per core */
	int node;           /**< NUMA node of the mbufs, or WHERRY_NODE_ANY */
};

/**
 * A mempool for receive queues whose mbufs lie in EAL memory and whose data buffers lie
 * in an arena, so that received data can stay where the NIC wrote it and still move.
 * The mempool is usable for rx_queue_setup at once; buffers are bound later, and until
 * then all mbufs share one, whose content means nothing.
 *
 * @retval -EINVAL no name or mbufs; room is not more than the headroom, or over 65535;
 *         a cache that rte_mempool refuses
 * @retval -EEXIST a mempool has that name
 * @retval -ENOMEM no memory
 */
int wherry_pktpool_create(const struct wherry_pktpool_opts *opts, struct wherry_pktpool **ret_pool)
	WHERRY_MUST_CHECK;
/** Free pool and mempool; no mbuf is in use. Kept buffers stay in the arena. NULL is fine. */
void wherry_pktpool_destroy(struct wherry_pktpool *pool);
/** The mempool to give to rte_eth_rx_queue_setup(). */
struct rte_mempool *wherry_pktpool_mempool(struct wherry_pktpool *pool);
/**
 * Serving: make the buffers in @p arena and give one to each mbuf. The result goes into
 * the arena's state: what wherry_pktpool_adopt() takes. NULL, and nothing has changed:
 * the arena is full, or mbufs are in use (logged). Bind before queues of a PMD are set up
 * or started that takes mbufs then.
 */
void *wherry_pktpool_bind(struct wherry_pktpool *pool, struct wherry_arena *arena);
/**
 * Destination: the buffers described by @p bound are in the arena that has come; give
 * each mbuf one that nobody keeps. No mbuf is in use, receive queues are stopped.
 * Writes nothing to the arena. What the arena holds is not trusted.
 *
 * @retval -EPROTO it does not describe buffers of this pool's shape
 * @retval -EBUSY mbufs are in use: the PMD holds on to those of a stopped queue
 * @retval -ENOMEM no memory
 */
int wherry_pktpool_adopt(struct wherry_pktpool *pool, struct wherry_arena *arena, void *bound)
	WHERRY_MUST_CHECK;
/**
 * Take the buffer of @p m out of the pool for good, with the data in it untouched, and
 * give the mbuf a spare. Returns the data's address, as rte_pktmbuf_mtod() was, or NULL
 * when no spare is left or the mbuf is not of this pool: then nothing has changed. One
 * segment, referenced once. Constant time, no lock: one core per pool keeps and releases.
 */
void *wherry_pktpool_keep(struct wherry_pktpool *pool, struct rte_mbuf *m);
/** Give a kept buffer back, by any address inside it; anything else is caught by an assertion. */
void wherry_pktpool_release(struct wherry_pktpool *pool, const void *data);
/** The filter to set on the arena's watch: buffers nobody keeps are worthless. ctx is the pool. */
void wherry_pktpool_filter(void *ctx, bool final, struct wherry_bitmap *worthless);

/** What a descriptor log is for. */
enum wherry_rxlog_role {
	/** It tells the tracker what no IOMMU tells: buffers with received data are dirty. */
	WHERRY_RXLOG_SOURCE,
	/** It judges domains that tell: pages with received data that they never reported. */
	WHERRY_RXLOG_CHECK,
};

/** What a descriptor log has seen. */
struct wherry_rxlog_stats {
	uint64_t descriptors;   /**< completed receive descriptors */
	uint64_t checked_pages; /**< CHECK: pages that a domain had to report */
	uint64_t missing_pages; /**< CHECK: of those, the ones it did not report; each is logged */
};

struct wherry_rxlog;

/**
 * The descriptor log: what NICs wrote, as their receive descriptors say, through a callback
 * in front of all others behind each receive burst. It knows the data an application was
 * given. It does not know of frames that nobody took out of the ring, nor of rings: those
 * of EAL memory are for wherry_rxlog_add_rest(). -ENOMEM: no memory.
 */
int wherry_rxlog_create(enum wherry_rxlog_role role, struct wherry_rxlog **ret_log)
	WHERRY_MUST_CHECK;
/** Remove the callbacks and free. No core polls the ports, no watch uses it. NULL is fine. */
void wherry_rxlog_destroy(struct wherry_rxlog *log);
/**
 * See all receive queues of @p port from now on; they are set up. May be running.
 *
 * @retval -ENODEV no such port
 * @retval -EEXIST it was added
 * @retval -ENOMEM no memory
 */
int wherry_rxlog_add_port(struct wherry_rxlog *log, uint16_t port) WHERRY_MUST_CHECK;
/**
 * Note what lands in the span of @p w, which devices write as receive buffers only. It is
 * for one watch of one tracker at a time, and outlives it. Errors as
 * wherry_watch_add_log(); -EBUSY: a watch of that span uses it already.
 */
int wherry_rxlog_add_watch(struct wherry_rxlog *log, struct wherry_watch *w) WHERRY_MUST_CHECK;
/**
 * EAL memory: count all of @p w always dirty but the mempools of the ports' receive queues,
 * for it may hold rings and other memory that devices write. Ports are added already.
 */
int wherry_rxlog_add_rest(struct wherry_rxlog *log, struct wherry_watch *w) WHERRY_MUST_CHECK;
/** Fill @p ret_stats. */
void wherry_rxlog_get_stats(struct wherry_rxlog *log, struct wherry_rxlog_stats *ret_stats);

WHERRY_END_DECLS

#endif /* WHERRY_DPDK_H */
