"""Every bound of the product, with its unit and its reason. A bound that is a setting has its default here.

Durations are integer microseconds, as all durations inside the engine are; names end in `_us`.
"""

from __future__ import annotations

US_PER_MS = 1_000
US_PER_SECOND = 1_000_000
US_PER_MINUTE = 60 * US_PER_SECOND
US_PER_HOUR = 60 * US_PER_MINUTE
US_PER_DAY = 24 * US_PER_HOUR

# The log.
SHARDS_DEFAULT = 8
"""Shards of a new stream: enough lanes to keep two cores busy, few enough that an idle stream costs nothing."""
EVENT_BYTES_MAX = 1024 * 1024
"""The largest event that `interlock send` reads: what `POST /events` takes."""
BODY_INLINE_BYTES_MAX = 64 * 1024
"""A payload above this is in a file of its own and not in the log: large rows make every page of it slow."""
BODY_ORPHAN_US = US_PER_DAY
"""How long a file that nothing refers to is left alone: longer than any backup takes, and a person may look at it."""
BATCH_EVENTS_MAX = 1_000
"""Events in one CloudEvents batch: it is one commit, and one commit must stay short."""
DEDUPE_WINDOW_EVENTS = 50_000
"""Ids kept in memory; rebuilt at start from the tail of the log in well under a second."""
DEDUPE_WINDOW_US = 7 * US_PER_DAY
"""How long an id is remembered on disk: longer than any producer's retry schedule."""
SEGMENT_EVENTS = 1_000_000
"""A segment is also closed at this many events, so that retirement never copies without bound."""
SEGMENT_BYTES = 256 * 1024 * 1024
"""A segment is also closed at this size, about: a bound of bytes is kept by a fortieth, and not by whole days."""
RETENTION_AGE_US = 30 * US_PER_DAY
"""How long a stream is kept: a month of looking back."""
RETENTION_BYTES = 10 * 1024**3
"""How much of a stream is kept: a disk has an end."""
DISCARDED_KEPT_US = 30 * US_PER_DAY
"""How long a discarded event can be restored when its part of the log has gone. An open dead letter never goes."""
RETENTION_ALERT_PERCENT = 80
"""Of a stream's bound of bytes: from there on people are told who holds it, while there is still room."""
RETENTION_LOOK_US = US_PER_MINUTE
"""How often the size of streams is looked at: what a busy one takes in within a minute is far below a fifth of it."""
RETENTION_EVERY_US = 10 * US_PER_MINUTE
"""How often segments are retired, and files that nothing claims collected, where no stream is at its bound."""
WRITER_QUEUE_ITEMS_MAX = 10_000
"""As the next, in items: small events fill memory by their number."""
WRITER_QUEUE_BYTES_MAX = 256 * 1024 * 1024
"""What may wait for the writer. Above it intake answers 503: an unbounded queue is a loss that has not happened yet."""
WRITER_RESERVE_ITEMS = 1_000
"""What waits for the writer on behalf of people may be this much more: backpressure never refuses a command."""
WRITER_GROUP_ITEMS_MAX = 4_096
"""As the next, in items."""
WRITER_GROUP_BYTES_MAX = 16 * 1024 * 1024
"""What one commit takes from the queue at most, so that no commit is long and none needs much memory."""
STORE_RESERVE_BYTES = 64 * 1024 * 1024
"""Free space below which intake is refused, so that settlements, dead letters and commands still have room."""
STORE_LOW_PERCENT = 5
"""Free share of the disk, and twice the reserve, below which people are told: there is still time to make room."""
DISK_LOOK_US = 10 * US_PER_SECOND
"""How often the room of the store's disk is looked at where nobody asks."""
READ_SCAN_OFFSETS_MAX = 10_000
"""Offsets that one `read` passes at most, so that a filter that matches nothing gives others their turn."""
READ_BYTES_MAX = 8 * 1024 * 1024
"""Payload that one `read` gives at most, unless its first event alone is larger: what a lane takes in at once."""
CELL_GRAVE_US = US_PER_DAY
"""How long the version of a deleted or expired cell is remembered, so that a late compare-and-set misses a new one."""
TAIL_BYTES_MAX = 16 * 1024 * 1024
"""The newest events of all shards, in memory: a window for each lane of a stream. One that lags reads the store."""

# A lane.
WINDOW_OFFSETS = 1_024
"""Offsets over the floor that may be accounted for out of order: the bits of `Cursor.above`."""
WINDOW_PATIENCE_US = 250 * US_PER_MS
"""How long the floor of a full window may stand still before its lowest events are passed."""
FLOOR_PATIENCE_US = US_PER_MINUTE
"""How long the floor may stand still at all before what waits behind stragglers is passed: no key pins the log."""
SIGHT_ROWS_MAX = 10_000
"""Events that a lane passes into rows to see whose come after them: so far others are not kept waiting by a flood."""
SIGHT_PAUSE_US = 10 * US_PER_MS
"""Between two parts of a window that are passed for that."""
RUNNING_MAX = 32
"""Attempts of one lane under way at once, at most one a key."""
PASSED_OFFSETS_PER_KEY = 1_000
"""Of one key: enough for a burst behind a blocked head."""
PASSED_OFFSETS_PER_LANE = 100_000
"""Offsets counted behind a mark that a lane remembers; beyond them it scans the log again."""
SCAN_EVENTS_PER_TURN = 10_000
"""How far one scan for marked keys goes before other work gets its turn."""
FETCH_EVENTS_MAX = 256
"""Events of marked keys that are fetched at once."""
BLOCKED_KEYS_MAX = 100_000
"""Above it the lane stops reading: so many blocked keys are one systemic fault, not many. Delayed events count."""
GAP_KEYS_MAX = 100_000
"""Keys with untold dead letters that a lane remembers; beyond them it asks the store about every key, at each start."""
GAP_EVENTS_MAX = 1_000
"""Missing events that one event tells of: each is a row of its settlement. Of what is beyond, the next one tells."""
NEWEST_KEYS_MAX = 10_000
"""Keys of which a lane remembers the newest delivered event; of others it asks the store when one of them comes."""
NEWEST_KEPT_US = 90 * US_PER_DAY
"""How long after the newest delivered event of a key a late one is known for late: three times what a log keeps."""
NEWNESS_CHARS_MAX = 255
"""A text that says how new an event is: a version or a date. It stands in a cell for each key."""
SEQUENCE_BUFFER = 1_000
"""Events of a key that a resequencer holds for one that is missing, unless `buffer_max=` says otherwise."""
SEQUENCE_BUFFER_CEILING = 10_000
"""The most that `buffer_max=` may be: the list of those that wait is written with each of them."""
SEQUENCE_BYTES_MAX = 16 * 1024 * 1024
"""What the events of a key that a resequencer holds may amount to: they are read as one when its next one comes."""
SEQUENCE_GAP_MAX_US = 30 * US_PER_DAY
"""How long a resequencer may wait for what is missing: as long as a log keeps what it waits for."""
SEQUENCE_KEPT_US = 90 * US_PER_DAY
"""How long after the last event of a key a resequencer knows which number is next."""
SEQUENCE_KEYS_MAX = 10_000
"""Keys that a lane of a resequencer remembers; of others it asks the store when one of them comes."""
SEQUENCE_MEMORY_BYTES = 64 * 1024 * 1024
"""What a lane of a resequencer remembers of events that wait; beyond, it asks the store as for other keys."""
DELAY_MAX_US = 366 * US_PER_DAY
"""How long after its acceptance a delayed event can be due: a wait of years is a date that belongs in a database."""
FLOOR_IDLE_US = 5 * US_PER_SECOND
"""A floor that only passed filtered events is committed after this long if nothing else commits it."""
SETTLE_PAUSE_US = 10 * US_PER_MS
"""Between two settlements that hold nothing but successes. Losing one repeats deliveries, it loses nothing."""
FUNCTION_BURST_US = 5 * US_PER_MS
"""How long a lane runs functions that never suspend before others get the loop."""
HOLD_REPORT_US = 50 * US_PER_MS
"""A function that holds the loop longer than this is reported with its name and stack."""

# Leases.
LEASE_TTL_US = 60 * US_PER_SECOND
"""How long a worker that vanished without a trace can hold its cursors."""
LEASE_RENEWAL_US = 20 * US_PER_SECOND
"""A third of the lease: two renewals may fail before it ends."""
FUNCTION_DEADLINE_US = 30 * US_PER_SECOND
"""Must stay at or under half of the lease: an attempt that outlives its lease could overlap its successor."""

# Schedules.
SCHEDULE_LATE_US = 1 * US_PER_MINUTE
"""Under `missed="skip"`, what a time may wait for a busy process or a lease and still be on time."""
SCHEDULE_LOOK_US = 1 * US_PER_MINUTE
"""How soon a schedule notices that the clock of the machine was set."""

# Retries.
RETRY_BASE_US = 1 * US_PER_SECOND
"""The first pause: a blip is over by then."""
RETRY_CAP_US = 1 * US_PER_HOUR
"""The longest pause: a System that is back is noticed within the hour."""
RETRY_AGE_MAX_US = 24 * US_PER_HOUR
"""From the first attempt that was sent. Age bounds retries; a count alone ends within minutes."""
RETRY_ATTEMPTS_MAX = 40
"""A safety stop only: with the pauses above, age comes first."""
RETRY_AFTER_MAX_US = 1 * US_PER_HOUR
"""A Retry-After beyond this is clamped: a receiver may slow us down, not stop us for good."""
UNEXPECTED_ATTEMPTS_MAX = 5
"""Attempts after an exception that nothing classifies: bugs should reach the dead letters quickly."""
CRASHES_TOGETHER_MAX = 2
"""Deaths of the process that an event may share with whatever else ran then; after them it runs alone."""
CRASHES_ALONE_MAX = 3
"""Deaths of the process while an event ran alone before it is held for a person: one or two can be chance."""
GUARD_EVENTS = 20
"""Events that are looked back upon before a subscription or a System is paused by itself: fewer may be chance."""
GUARD_SHARE = (1, 2)
"""Of those, as (part, of), would have to die of one cause: a few poison events among good ones are no outage."""
BLOCK_THEN_SKIP_US = 1 * US_PER_HOUR
"""How long a key waits for its failing head unless the subscription says otherwise."""
MEMO_BYTES_MAX = 256 * 1024
"""Results of finished calls kept with a straggler; a larger answer is refused with a clear error."""
EXCERPT_BYTES_MAX = 16 * 1024
"""Of request and response, kept for attempts that failed."""

# Systems.
CONNECT_TIMEOUT_US = 3 * US_PER_SECOND
"""Three transmissions of a lost SYN; a System that takes longer is as good as down."""
CALL_TIMEOUT_US = 15 * US_PER_SECOND
"""The whole call; must stay well under the function's deadline, so that a second one fits."""
SYSTEM_CONCURRENCY_MAX = 32
"""Calls to one System at once: more than most endpoints of partners like."""
ANSWER_BYTES_MAX = 8 * 1024 * 1024
"""An answer is held in memory; what is larger is a download and belongs elsewhere."""

# The edge.
HEADER_BYTES_MAX = 32 * 1024
"""Room for several large tokens."""
HEADER_COUNT_MAX = 100
"""What common servers take."""
TARGET_BYTES_MAX = 8 * 1024
"""What common servers and proxies take."""
BODY_BYTES_MAX = 1024 * 1024
"""What `POST /events` takes, and a webhook that does not declare a bound of its own: most bodies become one event."""
HEAD_TIMEOUT_US = 10 * US_PER_SECOND
"""A slow head holds a connection and gives nothing."""
BODY_TIMEOUT_US = 30 * US_PER_SECOND
"""As the head, for a body of the size above over a poor line."""
KEEPALIVE_TIMEOUT_US = 75 * US_PER_SECOND
"""Longer than the 60 s after which common proxies close, so that they close first."""
CONNECTIONS_MAX = 10_000
"""Each costs memory and a file descriptor."""
DRAIN_TIMEOUT_US = 10 * US_PER_SECOND
"""What runs may finish; process managers send SIGKILL soon after."""
JSON_DEPTH_MAX = 64
"""Nesting of a JSON document from outside; deeper ones exhaust a recursive parser."""
ID_CHARS_MAX = 255
"""A producer's id stands in an index and in headers."""
KEY_CHARS_MAX = 255
"""A key stands in rows, marks and lists."""

# Control.
CONTROL_GRACE_US = 5 * US_PER_SECOND
"""What the control port is answering may end when a process stops; a client that stalls must not keep it alive."""
REQUEST_OFFSETS_MAX = 1_000
"""Events in one request to a lane: it is applied in one settlement, and one commit must stay short."""
COMMAND_WAIT_US_MAX = 30 * US_PER_SECOND
"""How long a command may be made to wait for the answers of lanes: shorter than any client's patience."""
REQUEST_STEP_US = 1 * US_PER_SECOND
"""A request that is spread over time goes on at most so often: each step is a commit with all of its answers."""
REQUESTS_READ_MAX = 100_000
"""Requests of a day that a start reads to find those that wait for an answer: far more than persons make."""
REQUEST_ASKED_US = 1 * US_PER_DAY
"""A request that no lane took within this is dropped: what a person meant yesterday may be wrong today."""
JOB_EVENTS_MAX = 10 * REQUEST_OFFSETS_MAX
"""Events of one job: what a person decides at once, and its frozen set is still one small cell."""
ERASE_EVENTS_MAX = 100_000
"""Events of a key that one erasure takes: their offsets are counted in memory, and lanes are busy for minutes."""
ERASE_MORE_MAX = 1_000
"""Events of the key that came while it was erased and are taken, too: a producer that goes on must not keep it up."""
JOB_OPEN_MAX = 100
"""Events of a job that may stop by failures which are under way at once: so many go wrong before it can know."""
JOB_TRIED_MIN = 10
"""Events that were tried before their share of failures says something."""
JOB_LOOK_US = 250 * US_PER_MS
"""How soon a job looks again at what it has released; less and less often, the longer nothing changes."""
JOB_LOOK_MAX_US = 10 * US_PER_SECOND
"""The longest time between two looks."""
JOB_KEPT_US = 30 * US_PER_DAY
"""How long a job that is done can be looked up: as long as a stream is kept."""
BALANCE_EVERY_US = 1 * US_PER_MINUTE
"""How often each lane's books are checked in memory: a fault of the engine is known before anybody asks."""

# What a declaration or a binding may ask for; `interlock check` refuses the rest.
DEADLINE_MIN_US = 10 * US_PER_MS
"""Below it every attempt would end before a connection is open."""
DEADLINE_MAX_US = LEASE_TTL_US // 2
"""An attempt must end under the lease that it started under, even if one renewal of it is late."""
RETRY_ATTEMPTS_CEILING = 1_000
"""More is a loop, not a retry."""
RETRY_AGE_CEILING_US = RETENTION_AGE_US
"""Trying for longer than the log keeps the event means trying what nobody can look at any more."""
RETRY_SCHEDULE_MAX = 100
"""A list of delays that a person can still read."""
POLL_EVERY_MIN_US = 1 * US_PER_SECOND
"""What has to be faster should be a webhook."""
POLL_EVERY_MAX_US = 7 * US_PER_DAY
"""Longer than a week is a calendar, not a poll."""
SCHEDULE_EVERY_MIN_US = 1 * US_PER_SECOND
"""As `POLL_EVERY_MIN_US`: each run may be a commit."""
SCHEDULE_EVERY_MAX_US = 31 * US_PER_DAY
"""What is rarer has a date, and is said by a cron expression."""
SHARDS_CEILING = 256
"""The shard takes 8 bits of an event's id."""
SYSTEM_CONCURRENCY_CEILING = 10_000
"""As many connections as the process may have."""
RATE_PER_SECOND_CEILING = 1_000_000
"""Beyond what one process can send: a larger number is a slip."""
BODY_BYTES_CEILING = 32 * 1024 * 1024
"""GitHub sends up to 25 MB; a body is held in memory while its signature is checked."""
NAME_CHARS_MAX = 100
"""Names stand in metrics, addresses and tables."""
VERSION_MAX = 9_999
"""A version is a small number, not a date."""

# HTTP/1.1 on the wire, both sides.
WRITE_TIMEOUT_US = 30 * US_PER_SECOND
"""A peer that takes nothing of what is sent for this long is gone."""
LINGER_US = 2 * US_PER_SECOND
"""After a refusal the rest of the request is read and dropped this long, so that no reset destroys the answer."""
PIPELINED_BYTES_MAX = 64 * 1024
"""What a peer may send ahead of the answer that it waits for; above it the connection is not read."""
DISCARD_BYTES_MAX = 64 * 1024
"""An unread body up to this size is dropped to keep the connection; a larger one costs more than a new connection."""
CHUNK_LINE_BYTES_MAX = 256
"""A chunk's size with its extensions, which nobody uses."""
CHUNK_EXTENSION_BYTES_MAX = 16 * 1024
"""Chunk extensions of one body in all: beyond it they are an attack on the reader."""
TRAILER_BYTES_MAX = 8 * 1024
"""Trailers are dropped; this much is read for the sake of the framing."""
FIELD_NAMES_MAX = 1_024
"""Field names (and hosts) remembered as checked; when full, all are forgotten, so that a flood costs only time."""
HEAD_LINES_MAX = 1_024
"""Lines of requests' heads remembered as read, short ones only; when full, all are forgotten, as names are."""
ANSWER_HEADS_MAX = 256
"""Rendered heads of answers kept for the second that their date holds."""
SWEEP_US = 100 * US_PER_MS
"""Deadlines of connections are looked at no more often than this, and are late by no more than this."""
POOL_IDLE_TIMEOUT_US = 60 * US_PER_SECOND
"""Shorter than the 75 s that common servers keep an idle connection, so that we close first."""
POOL_WAITING_MAX = 1_000
"""Requests that wait for a connection of one origin; the limits before the pool should never let it come to that."""
INTERIM_ANSWERS_MAX = 16
"""1xx answers before the final one."""

# Outgoing calls.
RATE_WAIT_US = 250 * US_PER_MS
"""A call waits this long for the rate of its System; for longer the event waits instead, and costs nothing."""
SLOT_WAIT_US = 2 * US_PER_SECOND
"""How long a call waits for one of its System's slots: longer than most calls take, short against any deadline."""
SLOT_WAITERS_MAX = 1_000
"""Calls of one System that wait for a slot at once."""
START_PROMISE_US = 1 * US_PER_SECOND
"""How long a part of a limit is kept for an event that was told that it may start."""
RECHECK_US = 1 * US_PER_SECOND
"""Whoever waits for something that is announced asks again after this all the same."""
WAIT_FOR_A_PERSON_US = 1 * US_PER_HOUR
"""The same where only a person ends the wait."""
THROTTLED_US = 1 * US_PER_SECOND
"""How long a System rests after a 429 that does not say how long."""
BREAKER_CELL_US = 30 * US_PER_MINUTE
"""How long others may go by what a breaker found: an open one is probed, and told of again, well within this."""
POSTGRESQL_PORT = 5432
"""The port of a PostgreSQL server whose address does not say one (IANA)."""
SQL_ROWS_MAX = 10_000
"""Rows that one statement of a function gives: they are held in memory while a transaction is open."""
RECEIPT_BYTES_MAX = 4 * 1024
"""The result that is kept with a receipt: a number or an id, not a document."""
RECEIPT_KEEP_US = RETENTION_AGE_US
"""The least age at which a receipt is forgotten, also where its event cannot be delivered any more."""
RECEIPT_SLICE_ROWS = 1_000
"""Receipts that one transaction removes at most: no call waits long behind it."""
RECEIPT_SLICES_MAX = 100
"""Slices in a row; what is left is for the next time."""
LABEL_CHARS_MAX = 64
"""The name of a call within an attempt."""
CALL_RECORDS_MAX = 1_000
"""Calls of one attempt that are told apart; an attempt with more should be several events."""

# The daily loop.

WATCH_EVERY_US = 250 * US_PER_MS
"""How often `interlock dev` looks at the files; two looks without a change between them are rest."""
WATCHED_FILES_MAX = 10_000
"""Files that it looks at: a look at so many was measured at 0.1 s of processor time, 10 µs a file, on a thread."""

# Secrets.

SECRET_BYTES_MAX = 64 * 1024
"""What `interlock secrets set` takes: a key with its chain fits, a file that was piped in by mistake does not."""
