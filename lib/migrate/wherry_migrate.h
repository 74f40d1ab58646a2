/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef WHERRY_MIGRATE_H
#define WHERRY_MIGRATE_H

#include <limits.h> /* UINT_MAX */

#include <wherry_dirty.h>
#include <wherry_lend.h>

WHERRY_BEGIN_DECLS

/**
 * @file
 * The migration agent of one process: it sends what the process owns to another
 * process, or receives it, and sees to it that never both run.
 *
 *     source: setup -> precopy rounds -> quiesce -> final -> switchover -> released
 *     dest:   listen -> prepared -> receiving -> verified -> COMMIT -> running
 *
 * A connection that is lost in precopy pauses the migration (source: paused, destination:
 * held) until it is recovered or a limit passes: doc/recover.rst.
 *
 * Failure before COMMIT: the source goes on as if nothing had happened, and the
 * destination discards what it has and says why. A source that has sent COMMIT never
 * runs again by itself. With an arbiter (wherry_arbiter.h) its compare-and-swap is COMMIT,
 * the destination's; a source that hears nothing asks the arbiter who owns, and goes on
 * only if it does itself. doc/switchover.rst tells the whole story.
 *
 * URIs:    "tcp:HOST:PORT", "tcp:[V6]:PORT", "unix:PATH"; "file:PATH", a snapshot
 *          (doc/snapshot.rst): it is written while the application runs and goes on, and
 *          is read by a destination instead of listening.
 * Keys:    TCP goes over TLS 1.3 if there are keys, and both sides prove who they are
 *          (doc/security.rst). Without keys only loopback addresses are taken.
 * Control: a Unix socket, one JSON object per line (doc/control.rst): status,
 *          migrate, recover, cancel, watch, reload. `wherry` speaks it.
 * Threads: the agent has its own; it calls the ops on them, one at a time. All calls
 *          here but create and destroy may run concurrently.
 * Source:  doc/stream_format.rst (the wire), doc/design.rst section 5 of the project.
 */

struct wherry_agent;

/** Where a process stands. The first two are the only ones at rest while it runs. */
enum wherry_state {
	WHERRY_STATE_SERVING,    /**< owns its state, no migration under way */
	WHERRY_STATE_SETUP,      /**< source: comparing versions, regions, ports */
	WHERRY_STATE_PRECOPY,    /**< source: sending while the application runs */
	WHERRY_STATE_PAUSED,     /**< source: connection lost in precopy; wherry_agent_recover() */
	WHERRY_STATE_QUIESCE,    /**< source: stopping application and DMA */
	WHERRY_STATE_FINAL,      /**< source: sending what is left */
	WHERRY_STATE_SWITCHOVER, /**< source: COMMIT is sent, RUNNING has not come */
	WHERRY_STATE_RELEASED,   /**< source: the destination runs */
	WHERRY_STATE_LISTEN,     /**< destination: nobody has connected */
	WHERRY_STATE_PREPARED,   /**< destination: compared, ready for pages */
	WHERRY_STATE_RECEIVING,  /**< destination: pages come in */
	WHERRY_STATE_HELD,       /**< destination: connection lost; what came is kept for a while */
	WHERRY_STATE_VERIFIED,   /**< destination: all there, digest equal, READY sent */
	WHERRY_STATE_FAILED,     /**< destination: gave up before COMMIT; owns nothing */
	WHERRY_STATE_UNKNOWN,    /**< source: COMMIT sent, connection lost: who owns is not known */
};
/** "serving", "precopy", ... */
const char *wherry_state_name(enum wherry_state state);

/** A frame that reached the source when its application had stopped. */
struct wherry_late_frame {
	unsigned int port;  /**< in the order both sides know */
	unsigned int queue; /**< of its receive queues */
	const void *bytes;  /**< len bytes, until the next call */
	size_t len;         /**< without the checksum */
};

/** Something that another process on this machine goes on with: memory, a line to the network. */
struct wherry_lent {
	char name[64]; /**< of the region, or "@" and what both sides call it */
	int fd;        /**< of it */
};

/** What the application does for the agent. Every op may be NULL but quiesce and takeover. */
struct wherry_agent_ops {
	/** Source: stop application and devices; say when the last burst was handled (CLOCK_MONOTONIC, ns). */
	int (*quiesce)(void *ctx, uint64_t *ret_last_burst_ns);
	/**
	 * How long quiesce takes (source, running: it may do so for a moment and go on), or takeover
	 * (destination, waiting), in ns, as measured here: part of the forecast. 0, or no op: it is
	 * not known, and 2.5 ms are reckoned with.
	 */
	uint64_t (*rehearse)(void *ctx);
	/**
	 * Source, running: take in so much less, in percent of what comes, from 0, all of it, to
	 * 99. Asked for only with auto_converge, and 0 again before the end, whatever it is.
	 */
	void (*throttle)(void *ctx, unsigned int percent);
	/** Source: undo quiesce, the migration failed. Cannot fail. */
	void (*resume)(void *ctx);
	/**
	 * Source, stopped: the next frame that has come since quiesce. 1: there is one; 0: none
	 * now. It is sent to the destination, also for a moment after that runs, until the
	 * network has learned where to send. A source that has this op may leave devices
	 * receiving into memory that nobody owns, until silence.
	 */
	int (*late)(void *ctx, struct wherry_late_frame *ret_frame);
	/** Source, stopped: no device receives from here on. Before a verification, and at the end. */
	void (*silence)(void *ctx);
	/** Source: another process runs now. */
	void (*released)(void *ctx);
	/**
	 * Source, unix: only: the @p i-th thing that is handed over as a file instead of being
	 * copied. 1: there is one, its fd stays the application's; 0: those were all; -errno: it
	 * cannot be had. Every region has to be among them. NULL: pages are sent.
	 */
	int (*lend)(void *ctx, unsigned int i, struct wherry_lent *ret_lent);
	/**
	 * Destination: a source that suits has connected, and its pages follow. On the thread that
	 * receives them, before it makes others for that; discard or takeover comes last.
	 */
	void (*prepare)(void *ctx);
	/**
	 * Destination, before READY: look at @p lent in the place of its own of that name, and
	 * write nothing to it until takeover; discard puts all back. The fd is the
	 * application's from here, on failure the agent's. NULL: pages are wanted.
	 */
	int (*borrow)(void *ctx, const struct wherry_lent *lent);
	/** Destination: every byte is there and proved; look whether it can be taken over. Before READY. */
	int (*verify)(void *ctx);
	/** Destination: COMMIT is held. Run; say when the first burst was handled (CLOCK_MONOTONIC, ns). */
	int (*takeover)(void *ctx, uint64_t *ret_first_burst_ns);
	/**
	 * Destination, running: what became of the DMA mappings of memory that was borrowed, for
	 * the reports of both sides. NULL: WHERRY_MAPPINGS_NONE.
	 */
	enum wherry_mappings (*mappings)(void *ctx);
	/** Destination, running: a frame that came too late at the source; as if received. May drop it. */
	void (*inject)(void *ctx, const struct wherry_late_frame *frame);
	/** Destination: it came to nothing; forget what was received. */
	void (*discard)(void *ctx);
	void *ctx; /**< handed to each */
};

/** Why something is refused, for people: what differs, as it is at both ends, and what to do. */
struct wherry_why {
	char text[192]; /**< "": errno says it all */
};

/** A piece of state that is no memory: ports, build-ids. Bytes are the owner's, small. */
struct wherry_section {
	const char *name;     /**< the same on both sides */
	unsigned int version; /**< compared for equality */
	/** Source: put at most @p cap bytes into @p buf; how many, or -errno. */
	int (*save)(void *ctx, void *buf, size_t cap);
	/** Destination, before the first page: could this be loaded here? -errno: no, both sides show why. */
	int (*check)(void *ctx, const void *buf, size_t len, struct wherry_why *ret_why);
	/** Destination, after the last page, before READY: remember it for takeover. -errno likewise. */
	int (*load)(void *ctx, const void *buf, size_t len, struct wherry_why *ret_why);
	void *ctx; /**< handed to each */
};

/**
 * Keys for TLS 1.3 on tcp: URIs: cert, key and ca, or psk; all NULL: none. Names of files,
 * which are read when an agent or a migration begins and again when they have changed.
 */
struct wherry_tls {
	const char *cert; /**< our certificate and those that lead to the CA, PEM */
	const char *key;  /**< its private key, PEM, no passphrase; not for everybody to read */
	const char *ca;   /**< certificates of who may sign a peer's, PEM */
	/** Revocation lists, PEM: one of each authority of a peer's chain, none of them out of date; NULL: not asked for. */
	const char *crl;
	const char *psk; /**< instead: lines IDENTITY:HEX; a source uses the first; mode 0600 */
	/** With certificates: name or address that the peer's is for; NULL: the URI's host, or any source. */
	const char *peer;
};

/** How an agent is set up. */
struct wherry_agent_opts {
	const char *name;     /**< of the application; its socket is /run/wherry/NAME.sock */
	const char *control;  /**< another path for the control socket; NULL: as above */
	const char *incoming; /**< URI to listen on: a destination; NULL: serving */
	struct wherry_tracker *tracker;     /**< its watches are what is sent; outlives the agent */
	const struct wherry_agent_ops *ops; /**< copied */
	const char *arbiter;   /**< who decides who owns (wherry_arbiter.h); NULL: COMMIT does */
	struct wherry_tls tls; /**< copied */
	bool insecure;         /**< TCP beyond loopback is fine without keys */
};

/**
 * Make an agent and its control socket. Nothing runs before start.
 *
 * @retval -EINVAL no name, no tracker, a URI that does not parse, keys that are none (logged)
 * @retval -EADDRINUSE another process answers on the control socket or the URI
 * @retval -EACCES the socket's directory is not ours to write; a key is not ours to read, or
 *         others' too; incoming is not loopback, and there are no keys (logged)
 * @retval -ENOENT a file of keys is not there
 * @retval -ENOMEM no memory
 */
int wherry_agent_create(const struct wherry_agent_opts *opts, struct wherry_agent **ret_agent)
	WHERRY_MUST_CHECK;
/** Cancel what is under way, stop the threads, remove the socket, free. NULL is fine. */
void wherry_agent_destroy(struct wherry_agent *agent);
/** Send @p section along; copied, its name and ctx stay the caller's. Before start. -EEXIST: name taken. */
int wherry_agent_add_section(struct wherry_agent *agent, const struct wherry_section *section)
	WHERRY_MUST_CHECK;
/**
 * What is in memory that moves is understood by the program or shared library that @p addr is
 * in, a function or a variable of it: one of the same name and build-id has to be at the other
 * end. Before start.
 *
 * @retval -EINVAL nothing that is loaded has that address; after start
 * @retval -EEXIST that one, or one of the same name, was added
 * @retval -EOPNOTSUPP it has no build-id: link it with --build-id
 * @retval -ENOSPC too many
 * @retval -ENOMEM no memory
 */
int wherry_agent_add_library(struct wherry_agent *agent, const void *addr) WHERRY_MUST_CHECK;
/**
 * Start answering, and listening if incoming. A process that is to serve and has an arbiter
 * becomes owner there first: -EPERM: another is; other errors: it does not answer (logged).
 */
int wherry_agent_start(struct wherry_agent *agent) WHERRY_MUST_CHECK;
/**
 * Destination: wait until it owns the state and has told its source (0), or gave up (-ECONNRESET, -EPROTO,
 * -ECANCELED, ...).
 */
int wherry_agent_wait(struct wherry_agent *agent) WHERRY_MUST_CHECK;

/** How to migrate. Zero is the default of each field. */
struct wherry_migrate_params {
	uint64_t max_bandwidth; /**< bytes per second; 0: unlimited */
	unsigned int
		downtime_limit_ms;   /**< switch over when the predicted blackout is below; 0: 50 */
	unsigned int max_rounds;     /**< give up, unconverged, after so many; 0: 30 */
	unsigned int timeout_ms;     /**< give up when the peer is silent for so long; 0: 10000 */
	bool verify;                 /**< hash all memory on both sides while stopped */
	unsigned int channels;       /**< connections, at most 32; 0: one for each CPU, at most 4 */
	bool compress;               /**< zstd, batch by batch, where it makes them shorter */
	unsigned int pause_limit_ms; /**< how long a lost connection may be recovered; 0: 60000 */
	bool copy;                   /**< unix: send pages even where memory could be handed over */
	bool release; /**< file: the application ends with its snapshot, which then owns the state */
	struct wherry_tls tls; /**< for this migration; all NULL: the agent's; copied */
	bool insecure;         /**< TCP beyond loopback is fine without keys */
	unsigned int
		total_timeout_ms; /**< give up when it is not switched over by then; 0: never */
	bool auto_converge;       /**< throttle the intake, more each round, if it is needed */
};
/** As pause_limit_ms: a connection that is lost ends the migration. */
#define WHERRY_NO_PAUSE UINT_MAX

/** One pre-copy round, or the final one. */
struct wherry_round {
	unsigned int n; /**< from 1 */
	bool final;     /**< application stopped */
	uint64_t
		iommu_dirty_pages; /**< reported by devices' bits in the harvest before this round */
	uint64_t cpu_dirty_pages;  /**< reported by the CPU's */
	uint64_t pages;            /**< sent, zero pages included */
	uint64_t zero_pages;       /**< sent as "zero" */
	uint64_t same_pages;       /**< not sent: dirty, but the destination had these very bytes */
	uint64_t bytes;            /**< on the wire */
	uint64_t ns;               /**< duration */
	double bandwidth;          /**< bytes per second */
	double forecast_ms;        /**< blackout predicted after this round */
	unsigned int throttle_percent; /**< of the intake not taken in meanwhile: auto_converge */
};

/** How a migration stands or ended. */
struct wherry_status {
	enum wherry_state state;   /**< where it stands */
	char reason[256];          /**< why it failed or was cancelled, for people; "" */
	unsigned int rounds;       /**< so far, final included */
	struct wherry_round round; /**< the last one */
	uint64_t state_bytes;      /**< memory under watch */
	uint64_t bytes_sent;       /**< on the wire in all */
	uint64_t filtered_pages;   /**< never sent because worthless */
	uint64_t blackout_ns;      /**< last burst there to first burst here; 0: not yet */
	uint64_t total_ns;         /**< since migrate was called */
	uint64_t late_frames;      /**< forwarded to the destination, or injected here */
	uint64_t
		arbiter_ns; /**< of the blackout: until the arbiter had answered; 0: none was asked */
	enum wherry_mappings
		mappings;         /**< of a handover, when it runs: what became of those for DMA */
	uint64_t strangers;       /**< connections to incoming that were sent away unproved */
	uint64_t refused_clients; /**< of the control socket, other users' */
	unsigned int throttle_percent; /**< of the intake not taken in at present */
	unsigned int pauses;           /**< connections lost, and attempts to recover that failed */
};

/**
 * Source: begin to migrate to @p uri, or to write a snapshot there, and return; status tells
 * the rest.
 *
 * @retval -EINVAL the URI does not parse, or a parameter, or what is there of keys, does not go with it
 * @retval -EBUSY a migration is under way
 * @retval -EPERM this process does not own its state (any more)
 */
int wherry_agent_migrate(struct wherry_agent *agent, const char *uri,
	const struct wherry_migrate_params *params) WHERRY_MUST_CHECK;
/**
 * Source, paused: connect again, to @p uri, or NULL for the same as before, and go on
 * with what has not arrived; returns at once, status tells the rest. An attempt that
 * fails leaves it paused.
 *
 * @retval -EINVAL the URI does not parse
 * @retval -EALREADY no migration is paused here
 * @retval -EBUSY an attempt is under way
 */
int wherry_agent_recover(struct wherry_agent *agent, const char *uri) WHERRY_MUST_CHECK;
/**
 * Read the agent's keys again, soon. They are looked at for every connection anyhow: this
 * brings out at once, in the log, what is wrong with new ones; those before stay in use then.
 * A migration under way goes on with what it began with. For signal handlers, too.
 */
void wherry_agent_reload(struct wherry_agent *agent);
/** Give the migration up, before COMMIT. -EALREADY: too late, or none under way. */
int wherry_agent_cancel(struct wherry_agent *agent);
/**
 * An operator has found out who runs: @p serve: this process is to, for no other does;
 * otherwise another does. For a source in the state "unknown" that has no arbiter.
 * -EALREADY: it is not; -EPERM: the arbiter decides.
 */
int wherry_agent_resolve(struct wherry_agent *agent, bool serve);
/**
 * Answer on the control socket @p path instead: for who takes over from a process that had it
 * and has ended. Connections stay.
 *
 * @retval -EINVAL it is too long
 * @retval -EADDRINUSE another process answers there
 *
 * Others as rename(2).
 */
int wherry_agent_move_control(struct wherry_agent *agent, const char *path) WHERRY_MUST_CHECK;
/** Fill @p ret_status. */
void wherry_agent_get_status(struct wherry_agent *agent, struct wherry_status *ret_status);

/** A region as a forecast sees it. */
struct wherry_forecast_region {
	uint64_t pages;           /**< of 4 KiB */
	double dirty_pages_per_s; /**< different pages written within a second, by anybody */
};
/** What a migration would be given. */
struct wherry_forecast_terms {
	double bandwidth;         /**< bytes per second, above 0 */
	double downtime_limit_ms; /**< as in struct wherry_migrate_params */
	unsigned int max_rounds;  /**< likewise, at least 1 */
	uint64_t quiesce_ns;      /**< that quiesce takes, as measured; 0: not known, 2.5 ms */
	uint64_t harvest_ns;      /**< that a harvest takes, likewise; 0: next to nothing */
};
/** What would come of it: of takeover 2.5 ms are reckoned with, the destination is not known. */
struct wherry_forecast {
	bool converges;      /**< the blackout gets below the limit */
	unsigned int rounds; /**< of pre-copy */
	double seconds;      /**< that they take */
	double blackout_ms;  /**< predicted after the last of them */
	size_t worst;        /**< the region of which most would be left to send */
};
/**
 * Reckon, before anything is begun, what a migration of these @p n regions would come
 * to: pages are taken for written independently of each other. Pure. -EINVAL: a rule on
 * the terms is broken.
 */
int wherry_forecast_reckon(const struct wherry_forecast_region *regions, size_t n,
	const struct wherry_forecast_terms *terms, struct wherry_forecast *ret_forecast)
	WHERRY_MUST_CHECK;

WHERRY_END_DECLS

#endif /* WHERRY_MIGRATE_H */
