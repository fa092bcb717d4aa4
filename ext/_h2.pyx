"""HTTP/2 for gRPC, sans-IO: sessions and streams of nghttp2, which is loaded when :func:`load` is called.

nghttp2 has the frames, HPACK, flow control and the checks of RFC 9113. What is here keeps, per stream, what came
(headers, body, trailers) and what is to be sent, and bounds it.

No Python code runs inside nghttp2: its callbacks only fill C structures, with the GIL held. So a session is never
entered twice, by whatever thread, and needs no lock. Bytes go in by :meth:`Session.receive` and come out by
:meth:`Session.send`; :meth:`Session.fetch` and :meth:`Session.flush` are the same for a socket, and release the GIL
only for the system calls.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.exc cimport PyErr_SetFromErrno
from cpython.unicode cimport PyUnicode_DecodeLatin1, PyUnicode_DecodeUTF8
from libc.stdint cimport int32_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, realloc
from libc.string cimport memcmp, memcpy, memmove

from pyrpc_xds._nghttp2 cimport Frame, GoAway, Headers, Library, Pair, Provider, Setting, Source, Version

cdef extern from "errno.h" nogil:
    int errno
    int EAGAIN
    int EWOULDBLOCK
    int EINTR

cdef extern from "poll.h" nogil:
    struct pollfd:
        int fd
        short events
        short revents
    int poll(pollfd *, unsigned long, int)
    int POLLIN
    int POLLOUT

cdef extern from "unistd.h" nogil:
    int close(int)

cdef extern from "sys/socket.h" nogil:
    int shutdown(int, int)
    int SHUT_RDWR
    int SHUT_WR
    ssize_t recv(int, void *, size_t, int)
    ssize_t c_send "send" (int, const void *, size_t, int)
    int MSG_DONTWAIT

cdef extern from *:
    """
    #ifndef MSG_NOSIGNAL
    #define MSG_NOSIGNAL 0
    #endif
    """
    int MSG_NOSIGNAL

cdef extern from "time.h" nogil:
    struct timespec:
        long tv_sec
        long tv_nsec
    int clock_gettime(int, timespec *)
    int CLOCK_MONOTONIC

cdef extern from "dlfcn.h":
    void *dlopen(const char *, int)
    void *dlsym(void *, const char *)
    int RTLD_NOW
    int RTLD_LOCAL

NO_ERROR = 0
PROTOCOL_ERROR = 1
INTERNAL_ERROR = 2
REFUSED_STREAM = 7
CANCEL = 8
ENHANCE_YOUR_CALM = 11

cdef enum:
    DATA_FRAME = 0
    HEADERS_FRAME = 1
    RST_STREAM_FRAME = 3
    SETTINGS_FRAME = 4
    PING_FRAME = 6
    GOAWAY_FRAME = 7
    END_STREAM = 1
    ACK = 1
    REQUEST = 0
    EOF_FLAG = 1
    NO_END_STREAM = 2
    NO_INDEX = 1
    ERROR_DEFERRED = -508
    ERROR_TEMPORAL = -521
    ERROR_CALLBACK = -902
    INTERNAL = 2
    REFUSED = 7
    CANCELLED = 8
    PREFIX = 5
    SEND_AT_ONCE = 131072
    DEBUG_KEPT = 256
    MAX_HEADERS = 256
    MAX_STREAM_ID = 2147483647

# Of a header list, received or sent.
MAX_FIELDS = MAX_HEADERS

cdef Library api
cdef bint loaded = False


class H2Error(Exception):
    """The connection cannot go on: the peer broke the protocol, or memory is short."""


cdef void *_symbol(void *library, str name) except NULL:
    encoded = ("nghttp2_" + name).encode()
    cdef void *found = dlsym(library, encoded)
    if found == NULL:
        raise OSError(f"the nghttp2 library has no nghttp2_{name}: it is too old")
    return found


def load(names):
    """Load the nghttp2 library; without effect where that was done.

    :param names: file names, for dlopen(3), tried in turn.
    :returns: its version.
    :raises OSError: none can be loaded.
    """
    global loaded
    cdef void *library = NULL
    if not loaded:
        for name in names:
            encoded = name.encode()
            library = dlopen(encoded, RTLD_NOW | RTLD_LOCAL)
            if library != NULL:
                break
        if library == NULL:
            raise OSError(f"no nghttp2 library: tried {', '.join(names)}")
        _bind(library)
        loaded = True
    return api.version(0).text.decode()


cdef int _bind(void *library) except -1:
    api.callbacks_new = <int (*)(void **) noexcept nogil> _symbol(library, "session_callbacks_new")
    api.callbacks_del = <void (*)(void *) noexcept nogil> _symbol(library, "session_callbacks_del")
    api.on_begin_headers = <void (*)(void *, void *) noexcept nogil> _symbol(
        library, "session_callbacks_set_on_begin_headers_callback")
    api.on_header = <void (*)(void *, void *) noexcept nogil> _symbol(
        library, "session_callbacks_set_on_header_callback")
    api.on_frame = <void (*)(void *, void *) noexcept nogil> _symbol(
        library, "session_callbacks_set_on_frame_recv_callback")
    api.on_framed = <void (*)(void *, void *) noexcept nogil> _symbol(
        library, "session_callbacks_set_before_frame_send_callback")
    api.on_sent = <void (*)(void *, void *) noexcept nogil> _symbol(
        library, "session_callbacks_set_on_frame_send_callback")
    api.on_not_sent = <void (*)(void *, void *) noexcept nogil> _symbol(
        library, "session_callbacks_set_on_frame_not_send_callback")
    api.on_data = <void (*)(void *, void *) noexcept nogil> _symbol(
        library, "session_callbacks_set_on_data_chunk_recv_callback")
    api.on_close = <void (*)(void *, void *) noexcept nogil> _symbol(
        library, "session_callbacks_set_on_stream_close_callback")
    api.option_new = <int (*)(void **) noexcept nogil> _symbol(library, "option_new")
    api.option_del = <void (*)(void *) noexcept nogil> _symbol(library, "option_del")
    api.option_no_auto_window_update = <void (*)(void *, int) noexcept nogil> _symbol(
        library, "option_set_no_auto_window_update")
    api.option_max_send_header_block_length = <void (*)(void *, size_t) noexcept nogil> _symbol(
        library, "option_set_max_send_header_block_length")
    api.option_no_closed_streams = <void (*)(void *, int) noexcept nogil> _symbol(
        library, "option_set_no_closed_streams")
    api.option_lenient_spaces = <void (*)(void *, int) noexcept nogil> dlsym(
        library, b"nghttp2_option_set_no_rfc9113_leading_and_trailing_ws_validation")
    api.option_reset_rate_limit = <void (*)(void *, uint64_t, uint64_t) noexcept nogil> dlsym(
        library, b"nghttp2_option_set_stream_reset_rate_limit")
    api.option_glitch_rate_limit = <void (*)(void *, uint64_t, uint64_t) noexcept nogil> dlsym(
        library, b"nghttp2_option_set_glitch_rate_limit")
    api.client_new = <int (*)(void **, void *, void *, void *) noexcept nogil> _symbol(
        library, "session_client_new2")
    api.server_new = <int (*)(void **, void *, void *, void *) noexcept nogil> _symbol(
        library, "session_server_new2")
    api.session_del = <void (*)(void *) noexcept nogil> _symbol(library, "session_del")
    api.send = <ssize_t (*)(void *, const uint8_t **) noexcept nogil> _symbol(library, "session_mem_send")
    api.receive = <ssize_t (*)(void *, const uint8_t *, size_t) noexcept nogil> _symbol(
        library, "session_mem_recv")
    api.want_read = <int (*)(void *) noexcept nogil> _symbol(library, "session_want_read")
    api.want_write = <int (*)(void *) noexcept nogil> _symbol(library, "session_want_write")
    api.resume_data = <int (*)(void *, int32_t) noexcept nogil> _symbol(library, "session_resume_data")
    api.consume_connection = <int (*)(void *, size_t) noexcept nogil> _symbol(
        library, "session_consume_connection")
    api.consume_stream = <int (*)(void *, int32_t, size_t) noexcept nogil> _symbol(
        library, "session_consume_stream")
    api.terminate = <int (*)(void *, uint32_t) noexcept nogil> _symbol(library, "session_terminate_session")
    api.set_local_window = <int (*)(void *, uint8_t, int32_t, int32_t) noexcept nogil> _symbol(
        library, "session_set_local_window_size")
    api.set_user = <int (*)(void *, int32_t, void *) noexcept nogil> _symbol(
        library, "session_set_stream_user_data")
    api.user = <void *(*)(void *, int32_t) noexcept nogil> _symbol(library, "session_get_stream_user_data")
    api.last_processed = <int32_t (*)(void *) noexcept nogil> _symbol(
        library, "session_get_last_proc_stream_id")
    api.outbound = <size_t (*)(void *) noexcept nogil> _symbol(library, "session_get_outbound_queue_size")
    api.remote_setting = <uint32_t (*)(void *, int) noexcept nogil> _symbol(
        library, "session_get_remote_settings")
    api.submit_settings = <int (*)(void *, uint8_t, const Setting *, size_t) noexcept nogil> _symbol(
        library, "submit_settings")
    api.submit_request = <int32_t (*)(
        void *, const void *, const Pair *, size_t, const Provider *, void *) noexcept nogil> _symbol(
        library, "submit_request")
    api.submit_response = <int (*)(
        void *, int32_t, const Pair *, size_t, const Provider *) noexcept nogil> _symbol(
        library, "submit_response")
    api.submit_trailer = <int (*)(void *, int32_t, const Pair *, size_t) noexcept nogil> _symbol(
        library, "submit_trailer")
    api.submit_reset = <int (*)(void *, uint8_t, int32_t, uint32_t) noexcept nogil> _symbol(
        library, "submit_rst_stream")
    api.submit_ping = <int (*)(void *, uint8_t, const uint8_t *) noexcept nogil> _symbol(library, "submit_ping")
    api.submit_goaway = <int (*)(
        void *, uint8_t, int32_t, uint32_t, const uint8_t *, size_t) noexcept nogil> _symbol(
        library, "submit_goaway")
    api.strerror = <const char *(*)(int) noexcept nogil> _symbol(library, "strerror")
    api.version = <Version *(*)(int) noexcept nogil> _symbol(library, "version")
    return 0


cdef long long monotonic() noexcept nogil:
    """Nanoseconds."""
    cdef timespec now
    clock_gettime(CLOCK_MONOTONIC, &now)
    return <long long> now.tv_sec * 1_000_000_000 + now.tv_nsec

cdef struct Buffer:
    uint8_t *data
    size_t length
    size_t capacity

cdef int put(Buffer *buffer, const void *data, size_t length) noexcept nogil:
    """Append; -1: no memory."""
    cdef size_t capacity
    cdef void *grown
    if buffer.length + length > buffer.capacity:
        capacity = buffer.capacity * 2
        if capacity < buffer.length + length:
            capacity = buffer.length + length
        if capacity < 128:
            capacity = 128
        grown = realloc(buffer.data, capacity)
        if grown == NULL:
            return -1
        buffer.data = <uint8_t *> grown
        buffer.capacity = capacity
    if length:
        memcpy(buffer.data + buffer.length, data, length)
    buffer.length += length
    return 0

cdef void forget(Buffer *buffer, size_t *done) noexcept nogil:
    """Drop the first bytes, which are done with, once they are at least half: no byte is moved often."""
    cdef size_t left = buffer.length - done[0]
    if done[0] >= left:
        if left:
            memmove(buffer.data, buffer.data + done[0], left)
        buffer.length = left
        done[0] = 0

cdef void drop(Buffer *buffer) noexcept nogil:
    free(buffer.data)
    buffer.data = NULL
    buffer.length = 0
    buffer.capacity = 0


cdef struct State:
    # One stream. Owned by the session's list while it is open, and by its Stream object; freed by the last.
    int owners
    int32_t id
    # Received. Pairs are stored as two lengths and the text.
    Buffer head
    Buffer trailers
    size_t header_bytes
    int header_count
    Buffer body
    size_t taken
    size_t unconsumed
    size_t limit
    int http_status
    int grpc_status
    bint head_done
    bint remote_end
    bint local_end
    bint too_large
    bint headers_too_large
    bint hold
    # To be sent: the body, whether that is all of it, and the trailers after it.
    Buffer out
    size_t out_read
    bint out_end
    bint deferred
    Buffer end
    int end_count
    # The end.
    bint closed
    bint unsent
    uint64_t batch
    bint reset_by_peer
    bint reset_here
    uint32_t error_code
    # In the session's list of streams, and in that of changed ones.
    State *before
    State *after
    bint changed
    State *next_changed

cdef void release(State *state) noexcept nogil:
    state.owners -= 1
    if state.owners == 0:
        drop(&state.head)
        drop(&state.trailers)
        drop(&state.body)
        drop(&state.out)
        drop(&state.end)
        free(state)


cdef struct Core:
    # What the callbacks of a session see of it.
    void *session
    bint server
    size_t max_header_bytes
    size_t max_message
    State *first
    int streams
    State *changed_first
    State *changed_last
    bint settings_received
    bint goaway
    uint32_t goaway_code
    Buffer debug
    int pings
    int resets
    int broken
    # No request after this one is taken: what a GOAWAY says that was sent, or waits to be.
    int32_t last_taken
    bint pending
    # Counts what is gathered to be written at once.
    uint64_t batch

cdef State *opened(Core *core, int32_t stream_id) noexcept nogil:
    cdef State *state = <State *> calloc(1, sizeof(State))
    if state == NULL:
        return NULL
    state.owners = 1
    state.id = stream_id
    state.grpc_status = -1
    state.limit = core.max_message
    # A server does not know yet whether this is a stream of many messages.
    state.hold = core.server
    state.after = core.first
    if core.first != NULL:
        core.first.before = state
    core.first = state
    core.streams += 1
    return state

cdef void changed(Core *core, State *state) noexcept nogil:
    if not state.changed:
        state.changed = True
        state.next_changed = NULL
        if core.changed_last == NULL:
            core.changed_first = state
        else:
            core.changed_last.next_changed = state
        core.changed_last = state

cdef void ended(Core *core, State *state, uint32_t error_code) noexcept nogil:
    """nghttp2 has no more of it. Still in the list of changed ones, which owns it from here on."""
    if state.closed:
        return
    state.closed = True
    state.error_code = error_code
    drop(&state.out)
    state.out_read = 0
    if state.before != NULL:
        state.before.after = state.after
    else:
        core.first = state.after
    if state.after != NULL:
        state.after.before = state.before
    core.streams -= 1
    changed(core, state)

cdef int on_begin_headers(void *session, const Frame *frame, void *user) noexcept nogil:
    cdef Core *core = <Core *> user
    cdef State *state
    if core.server and (<const Headers *> frame).category == REQUEST:
        if frame.stream_id > core.last_taken:
            # The peer makes it again elsewhere. nghttp2 does this only once the GOAWAY is on its way.
            api.submit_reset(session, 0, frame.stream_id, REFUSED)
            return ERROR_TEMPORAL
        state = opened(core, frame.stream_id)
        if state == NULL:
            return ERROR_CALLBACK
        api.set_user(session, frame.stream_id, state)
    return 0

cdef bint same(const uint8_t *text, size_t length, const char *other, size_t other_length) noexcept nogil:
    return length == other_length and memcmp(text, other, length) == 0

cdef int number(const uint8_t *text, size_t length) noexcept nogil:
    """Up to three digits; -2: anything else."""
    cdef int value = 0
    cdef size_t place
    if length == 0 or length > 3:
        return -2
    for place in range(length):
        if text[place] < 48 or text[place] > 57:
            return -2
        value = value * 10 + text[place] - 48
    return value

cdef int on_header(
    void *session, const Frame *frame, const uint8_t *name, size_t name_length,
    const uint8_t *value, size_t value_length, uint8_t flags, void *user
) noexcept nogil:
    cdef Core *core = <Core *> user
    cdef State *state = <State *> api.user(session, frame.stream_id)
    cdef Buffer *into
    cdef uint32_t lengths[2]
    if state == NULL:
        return 0
    # As RFC 9113 counts a header list.
    state.header_bytes += name_length + value_length + 32
    state.header_count += 1
    if state.header_bytes > core.max_header_bytes or state.header_count > MAX_HEADERS:
        state.headers_too_large = True
        return ERROR_TEMPORAL
    if not core.server:
        if same(name, name_length, b":status", 7):
            state.http_status = number(value, value_length)
            return 0
        if same(name, name_length, b"grpc-status", 11):
            state.grpc_status = number(value, value_length)
    into = &state.trailers if state.head_done else &state.head
    lengths[0] = <uint32_t> name_length
    lengths[1] = <uint32_t> value_length
    if put(into, lengths, sizeof(lengths)) or put(into, name, name_length) or put(into, value, value_length):
        return ERROR_CALLBACK
    return 0

cdef bint overfull(State *state) noexcept nogil:
    """Whether more than the one message of a unary call has come than is taken; it is dropped then."""
    if state.body.length - state.taken <= state.limit + PREFIX:
        return False
    state.too_large = True
    drop(&state.body)
    state.taken = 0
    return True

cdef int on_data(
    void *session, uint8_t flags, int32_t stream_id, const uint8_t *data, size_t length, void *user
) noexcept nogil:
    cdef Core *core = <Core *> user
    cdef State *state = <State *> api.user(session, stream_id)
    # A stream that is read slowly must not hold up the others.
    api.consume_connection(session, length)
    if state == NULL or state.too_large or state.closed:
        api.consume_stream(session, stream_id, length)
        return 0
    if state.taken and state.taken == state.body.length:
        state.taken = 0
        state.body.length = 0
    if put(&state.body, data, length):
        return ERROR_CALLBACK
    if state.hold:
        state.unconsumed += length
        changed(core, state)
    else:
        api.consume_stream(session, stream_id, length)
        if overfull(state):
            changed(core, state)
    return 0

cdef int on_frame(void *session, const Frame *frame, void *user) noexcept nogil:
    cdef Core *core = <Core *> user
    cdef const GoAway *goaway
    cdef State *state
    if frame.type == DATA_FRAME or frame.type == HEADERS_FRAME:
        state = <State *> api.user(session, frame.stream_id)
        if state == NULL:
            return 0
        if frame.type == HEADERS_FRAME and not state.head_done:
            if not core.server and 100 <= state.http_status < 200:
                # Informational: the response is still to come.
                state.head.length = 0
                return 0
            state.head_done = True
            changed(core, state)
        if frame.flags & END_STREAM:
            state.remote_end = True
            changed(core, state)
    elif frame.type == RST_STREAM_FRAME:
        core.resets += 1
        state = <State *> api.user(session, frame.stream_id)
        if state != NULL:
            state.reset_by_peer = True
    elif frame.type == SETTINGS_FRAME:
        if not frame.flags & ACK:
            core.settings_received = True
    elif frame.type == PING_FRAME:
        if frame.flags & ACK:
            core.pings += 1
    elif frame.type == GOAWAY_FRAME:
        goaway = <const GoAway *> frame
        core.goaway = True
        core.goaway_code = goaway.error_code
        core.debug.length = 0
        if goaway.debug_length:
            put(&core.debug, goaway.debug, min(goaway.debug_length, <size_t> DEBUG_KEPT))
    return 0

cdef int on_framed(void *session, const Frame *frame, void *user) noexcept nogil:
    cdef Core *core = <Core *> user
    cdef State *state
    if not core.server and frame.type == HEADERS_FRAME:
        state = <State *> api.user(session, frame.stream_id)
        if state != NULL:
            state.batch = core.batch
    return 0

cdef int on_sent(void *session, const Frame *frame, void *user) noexcept nogil:
    cdef Core *core = <Core *> user
    cdef State *state
    if frame.type == GOAWAY_FRAME:
        # It may be one that nghttp2 sends of itself.
        core.last_taken = min(core.last_taken, (<const GoAway *> frame).last_stream_id)
    elif core.server and (frame.type == HEADERS_FRAME or frame.type == DATA_FRAME) and frame.flags & END_STREAM:
        state = <State *> api.user(session, frame.stream_id)
        if state != NULL:
            state.local_end = True
            changed(core, state)
    return 0

cdef int on_not_sent(void *session, const Frame *frame, int error, void *user) noexcept nogil:
    cdef Core *core = <Core *> user
    cdef State *state
    if frame.type != HEADERS_FRAME:
        return 0
    if core.server:
        # The peer must not wait for an answer that cannot be sent.
        state = <State *> api.user(session, frame.stream_id)
        if state != NULL:
            state.reset_here = True
            api.submit_reset(session, 0, frame.stream_id, INTERNAL)
        return 0
    # A request whose stream was never opened is told here only.
    if (<const Headers *> frame).category != REQUEST:
        return 0
    state = core.first
    while state != NULL:
        if state.id == frame.stream_id:
            state.unsent = True
            ended(core, state, REFUSED)
            break
        state = state.after
    return 0

cdef int on_close(void *session, int32_t stream_id, uint32_t error_code, void *user) noexcept nogil:
    cdef Core *core = <Core *> user
    cdef State *state = <State *> api.user(session, stream_id)
    if state != NULL:
        api.set_user(session, stream_id, NULL)
        if error_code and error_code != REFUSED and not state.reset_by_peer and not state.reset_here:
            core.broken += 1
        ended(core, state, error_code)
    return 0

cdef int pairs_of(Buffer *stored, int count, Pair *pairs) noexcept nogil:
    cdef uint8_t *place = stored.data
    cdef uint32_t lengths[2]
    cdef int index
    for index in range(count):
        memcpy(lengths, place, sizeof(lengths))
        place += sizeof(lengths)
        pairs[index].name = place
        pairs[index].name_length = lengths[0]
        pairs[index].value = place + lengths[0]
        pairs[index].value_length = lengths[1]
        pairs[index].flags = 0
        place += lengths[0] + lengths[1]
    return 0

cdef ssize_t on_read(
    void *session, int32_t stream_id, uint8_t *data, size_t length, uint32_t *flags, Source *source, void *user
) noexcept nogil:
    cdef Core *core = <Core *> user
    cdef State *state = <State *> source.pointer
    cdef size_t left = state.out.length - state.out_read
    cdef Pair pairs[MAX_HEADERS]
    if left == 0 and not state.out_end:
        state.deferred = True
        return ERROR_DEFERRED
    if left > length:
        left = length
    if left:
        memcpy(data, state.out.data + state.out_read, left)
    state.out_read += left
    if state.out_read == state.out.length:
        state.out_read = 0
        state.out.length = 0
        changed(core, state)
        if state.out_end:
            flags[0] |= EOF_FLAG
            if state.end_count:
                flags[0] |= NO_END_STREAM
                pairs_of(&state.end, state.end_count, pairs)
                if api.submit_trailer(session, stream_id, pairs, state.end_count):
                    return ERROR_CALLBACK
    return <ssize_t> left


cdef class Block:
    """Header pairs that many messages have in common; made once.

    :param pairs: names and values, as bytes.
    """

    cdef tuple kept
    cdef Pair *pairs
    cdef size_t count

    def __cinit__(self, pairs):
        self.kept = tuple([(bytes(name), bytes(value)) for name, value in pairs])
        self.count = len(self.kept)
        if self.count > MAX_HEADERS:
            raise ValueError(f"{self.count} headers are more than {MAX_HEADERS}")
        self.pairs = <Pair *> calloc(self.count or 1, sizeof(Pair))
        if self.pairs == NULL:
            raise MemoryError
        for index in range(self.count):
            fill(&self.pairs[index], self.kept[index][0], self.kept[index][1], 0)

    def __dealloc__(self):
        free(self.pairs)


cdef int fill(Pair *pair, bytes name, bytes value, uint8_t flags) except -1:
    pair.name = <const uint8_t *> PyBytes_AS_STRING(name)
    pair.name_length = PyBytes_GET_SIZE(name)
    pair.value = <const uint8_t *> PyBytes_AS_STRING(value)
    pair.value_length = PyBytes_GET_SIZE(value)
    pair.flags = flags
    return 0

cdef size_t gathered(Pair *pairs, Block block, tuple extra) except? 0:
    """The pairs of a block and of ``(name, value, indexed)`` triples. What they point to is the arguments'."""
    cdef size_t count = block.count
    if count + len(extra) > MAX_HEADERS:
        raise ValueError(f"{count + len(extra)} headers are more than {MAX_HEADERS}")
    memcpy(pairs, block.pairs, count * sizeof(Pair))
    for name, value, indexed in extra:
        fill(&pairs[count], name, value, 0 if indexed else NO_INDEX)
        count += 1
    return count

cdef str text_of(const uint8_t *data, size_t length):
    """As grpcio reads header values."""
    try:
        return PyUnicode_DecodeUTF8(<const char *> data, length, NULL)
    except UnicodeDecodeError:
        return PyUnicode_DecodeLatin1(<const char *> data, length, NULL)

cdef list texts(Buffer *stored):
    cdef size_t place = 0
    cdef uint32_t lengths[2]
    cdef list found = []
    while place < stored.length:
        memcpy(lengths, stored.data + place, sizeof(lengths))
        place += sizeof(lengths)
        name = text_of(stored.data + place, lengths[0])
        found.append((name, text_of(stored.data + place + lengths[0], lengths[1])))
        place += lengths[0] + lengths[1]
    return found

cdef size_t declared(const uint8_t *prefix) noexcept nogil:
    """The length in a gRPC message's prefix."""
    return (<size_t> prefix[1] << 24) | (<size_t> prefix[2] << 16) | (<size_t> prefix[3] << 8) | prefix[4]


cdef class Stream:
    """One call on a session. Made by the session.

    :ivar tag: for whoever uses it.
    :ivar news: of :meth:`Session.exchange`: the other streams that what came was about, an exception, or ``None`` where
        it was not to be tried.
    :ivar plain: of the same: the call is over and went well, and there is nothing else to see to.
    """

    cdef State *state
    cdef readonly Session session
    cdef public object tag
    cdef readonly object news
    cdef readonly bint plain

    def __cinit__(self):
        self.state = NULL

    def __dealloc__(self):
        if self.state != NULL:
            release(self.state)

    @property
    def over(self):
        """Whether nothing more is expected of the peer."""
        return self.state.remote_end or self.state.closed or self.state.too_large

    @property
    def fine(self):
        """Whether it has brought the status OK."""
        cdef State *state = self.state
        return state.remote_end and state.grpc_status == 0 and state.http_status == 200

    @property
    def id(self):
        """The number of the stream."""
        return self.state.id

    @property
    def http_status(self):
        """Of the response; 0: not come, -2: not a number."""
        return self.state.http_status

    @property
    def grpc_status(self):
        """Of the response; -1: none has come, -2: not a number."""
        return self.state.grpc_status

    @property
    def head_done(self):
        """Whether the headers have come."""
        return self.state.head_done

    @property
    def remote_end(self):
        """Whether the peer has sent all."""
        return self.state.remote_end

    @property
    def local_end(self):
        """Whether all of the answer has been framed, so that a reset does not end it: servers."""
        return self.state.local_end

    @property
    def too_large(self):
        """Whether a message, or the header list, was larger than allowed; the rest is not kept."""
        return self.state.too_large or self.state.headers_too_large

    @property
    def closed(self):
        """Whether the stream is over."""
        return self.state.closed

    @property
    def error_code(self):
        """Of RST_STREAM or GOAWAY, once closed."""
        return self.state.error_code

    @property
    def reset_by_peer(self):
        """Whether the peer sent RST_STREAM."""
        return self.state.reset_by_peer

    @property
    def unsent(self):
        """Whether nothing of it has been sent, nor is on its way; of a request."""
        cdef State *state = self.state
        cdef Session session = self.session
        # nghttp2 knows a stream from when it frames the headers until it is over.
        if state.unsent or not state.closed and api.user(session.core.session, state.id) == NULL:
            return True
        # Framed, and the socket took nothing of what was to be written with it before it was closed.
        return (
            session.closing and not session.writing and not session.written and state.batch == session.core.batch
        )

    @property
    def unread(self):
        """Bytes of the body that have come and were not taken."""
        return self.state.body.length - self.state.taken

    @property
    def queued(self):
        """Bytes that wait to be framed."""
        return self.state.out.length - self.state.out_read

    def head(self):
        """The headers: names and values, as text; without ``:status``."""
        return texts(&self.state.head)

    def trailers(self):
        """The trailers, likewise."""
        return texts(&self.state.trailers)

    def let_all_come(self):
        """From here on the peer may send all of its one message, whatever was taken: for unary calls.

        Until then, and for streams for good, it may send only the window beyond what was taken: servers.
        """
        cdef State *state = self.state
        state.hold = False
        overfull(state)
        if not state.remote_end:
            self.consume()

    def take(self):
        """The next message, with its five bytes of prefix; ``None``: it has not come in full.

        :raises OverflowError: it is larger than allowed.
        """
        cdef State *state = self.state
        cdef const uint8_t *start = state.body.data + state.taken
        cdef size_t held = state.body.length - state.taken
        cdef size_t length
        if held >= PREFIX:
            length = declared(start)
            if length > state.limit:
                raise OverflowError(f"{length} bytes are more than {state.limit}")
            if held >= PREFIX + length:
                message = PyBytes_FromStringAndSize(<const char *> start, PREFIX + length)
                state.taken += PREFIX + length
                forget(&state.body, &state.taken)
                self.consume()
                return message
        # The rest may be more than the window.
        self.consume()
        return None

    cdef consume(self):
        cdef State *state = self.state
        if state.unconsumed and not state.closed:
            api.consume_stream(self.session.core.session, state.id, state.unconsumed)
            state.unconsumed = 0
            self.session.core.pending = True

    def discard(self):
        """Keep nothing of the body that has come: nobody will read it."""
        drop(&self.state.body)
        self.state.taken = 0

    def message(self):
        """The one message of a unary call, without its prefix; ``None``: it is not one whole uncompressed message."""
        cdef State *state = self.state
        cdef const uint8_t *start = state.body.data + state.taken
        cdef size_t held = state.body.length - state.taken
        if held < PREFIX or start[0] or declared(start) != held - PREFIX:
            return None
        return PyBytes_FromStringAndSize(<const char *> start + PREFIX, held - PREFIX)


cdef class Session:
    """One end of an HTTP/2 connection.

    :param server: which end.
    :param max_message: bytes of one message that are taken.
    :param max_headers: bytes of one header list that are taken.
    :param window: bytes of a stream that the peer may send ahead.
    :param max_streams: calls that the peer may make at a time; servers only.
    :raises H2Error: nghttp2 is not loaded, or memory is short.
    """

    cdef Core core
    cdef Buffer gathered
    cdef size_t written
    cdef bint writing
    cdef bint blocked
    cdef bint reading
    cdef int descriptor
    cdef int users
    cdef bint closing
    cdef readonly unsigned long long received
    cdef long long used
    cdef dict open
    cdef object __weakref__

    def __cinit__(self, bint server, size_t max_message, size_t max_headers, int32_t window, uint32_t max_streams):
        cdef void *callbacks = NULL
        cdef void *option = NULL
        cdef Setting settings[4]
        cdef int failed
        self.open = {}
        self.descriptor = -1
        self.core.server = server
        self.core.max_message = max_message
        self.core.max_header_bytes = max_headers
        self.core.last_taken = MAX_STREAM_ID
        if not loaded:
            raise H2Error("nghttp2 is not loaded")
        if api.callbacks_new(&callbacks) or api.option_new(&option):
            api.callbacks_del(callbacks)
            raise MemoryError
        api.on_begin_headers(callbacks, <void *> on_begin_headers)
        api.on_header(callbacks, <void *> on_header)
        api.on_frame(callbacks, <void *> on_frame)
        api.on_framed(callbacks, <void *> on_framed)
        api.on_sent(callbacks, <void *> on_sent)
        api.on_not_sent(callbacks, <void *> on_not_sent)
        api.on_data(callbacks, <void *> on_data)
        api.on_close(callbacks, <void *> on_close)
        api.option_no_auto_window_update(option, 1)
        api.option_no_closed_streams(option, 1)
        if api.option_lenient_spaces != NULL:
            # dubbo-go sends messages that end in a space; grpcio, Go and Java take them.
            api.option_lenient_spaces(option, 1)
        # Its own limits say GOAWAY for calls that still run: the server has one (its serving.py).
        if api.option_reset_rate_limit != NULL:
            api.option_reset_rate_limit(option, <uint64_t> -1, <uint64_t> -1)
        if api.option_glitch_rate_limit != NULL:
            api.option_glitch_rate_limit(option, <uint64_t> -1, <uint64_t> -1)
        # Of what HPACK makes of the largest header list that is sent.
        api.option_max_send_header_block_length(option, max(max_headers, <size_t> 65536) + 1024)
        if server:
            failed = api.server_new(&self.core.session, callbacks, &self.core, option)
        else:
            failed = api.client_new(&self.core.session, callbacks, &self.core, option)
        api.callbacks_del(callbacks)
        api.option_del(option)
        if failed:
            self.core.session = NULL
            raise MemoryError
        settings[0].id = 4  # INITIAL_WINDOW_SIZE
        settings[0].value = window
        settings[1].id = 6  # MAX_HEADER_LIST_SIZE
        settings[1].value = <uint32_t> max_headers
        if server:
            settings[2].id = 3  # MAX_CONCURRENT_STREAMS
            settings[2].value = max_streams
        else:
            settings[2].id = 2  # ENABLE_PUSH
            settings[2].value = 0
        self.check(api.submit_settings(self.core.session, 0, settings, 3))
        # Of the connection: streams are held up one by one, not together.
        self.check(api.set_local_window(self.core.session, 0, 0, max(window, 1 << 24)))
        self.core.pending = True

    def __dealloc__(self):
        cdef State *state = self.core.first
        cdef State *after
        while state != NULL:
            after = state.after
            if not state.closed:
                state.closed = True
                state.error_code = CANCELLED
                if not state.changed:
                    release(state)
            state = after
        state = self.core.changed_first
        while state != NULL:
            after = state.next_changed
            release(state)
            state = after
        if self.core.session != NULL:
            api.session_del(self.core.session)
        drop(&self.core.debug)
        drop(&self.gathered)
        if self.descriptor >= 0:
            close(self.descriptor)

    def attach(self, int descriptor):
        """Use a socket, which is the session's from here on."""
        self.descriptor = descriptor

    def close(self, bint quietly=False):
        """Close the socket, as soon as no thread is using it; those that wait for it wake.

        :param quietly: in a forked child: the connection is the parent's, and goes on.
        """
        if self.descriptor >= 0 and not self.closing:
            self.closing = True
            if quietly:
                self.users = 0  # threads that only the parent has
            else:
                shutdown(self.descriptor, SHUT_RDWR)
            self.users += 1
            self.leave()

    def close_sending(self):
        """Send no more; what the peer sends can still be read, and what it was sent is not lost."""
        if self.descriptor >= 0 and not self.closing:
            shutdown(self.descriptor, SHUT_WR)

    def close_idle(self):
        """:meth:`close`, unless a stream is open; whether it is closed."""
        if self.core.streams:
            return False
        self.close()
        return True

    cdef int enter(self) except -1:
        """Begin to use the socket without the GIL: its number stays its own until :meth:`leave`."""
        if self.descriptor < 0 or self.closing:
            raise EOFError
        self.users += 1
        return 0

    cdef void leave(self) noexcept:
        self.users -= 1
        if self.closing and not self.users:
            close(self.descriptor)
            self.descriptor = -1

    cdef int check(self, int result) except -1:
        if result < 0:
            raise H2Error(api.strerror(result).decode())
        return 0

    @property
    def pending(self):
        """Whether :meth:`send` may have something."""
        return self.core.pending

    @property
    def ready(self):
        """Whether the peer has introduced itself (its SETTINGS have come)."""
        return self.core.settings_received

    @property
    def over(self):
        """Whether there is nothing more to receive or to send."""
        return not api.want_read(self.core.session) and not api.want_write(self.core.session)

    @property
    def written_out(self):
        """Whether no thread is writing, and none has left something to be written."""
        return not self.writing and self.written == self.gathered.length

    @property
    def goaway(self):
        """Whether the peer has sent GOAWAY: it takes no new calls."""
        return self.core.goaway

    @property
    def goaway_code(self):
        """Its error code."""
        return self.core.goaway_code

    @property
    def debug(self):
        """What the peer says in its GOAWAY, at most 256 bytes of it."""
        return PyBytes_FromStringAndSize(<const char *> self.core.debug.data, self.core.debug.length)

    @property
    def pings(self):
        """How many of our pings were answered."""
        return self.core.pings

    @property
    def resets(self):
        """How many streams the peer has reset."""
        return self.core.resets

    @property
    def broken(self):
        """How many streams were reset here because the peer broke the protocol in them."""
        return self.core.broken

    @property
    def unsent(self):
        """How many frames wait to be sent; bodies are not counted."""
        return api.outbound(self.core.session)

    @property
    def streams(self):
        """How many streams are open."""
        return self.core.streams

    def open_streams(self):
        """The streams that are open."""
        return list(self.open.values())

    cdef Stream wrap(self, State *state):
        cdef Stream stream = Stream.__new__(Stream)
        stream.session = self
        state.owners += 1
        stream.state = state
        self.open[state.id] = stream
        return stream

    def receive(self, const uint8_t[::1] data not None):
        """Take bytes of the peer.

        :returns: the streams that something has happened to.
        :raises H2Error: the connection is broken; what :meth:`send` has is still to be sent.
        """
        return self.took(&data[0] if data.shape[0] else NULL, data.shape[0])

    cdef list took(self, const uint8_t *data, size_t length):
        cdef ssize_t taken = api.receive(self.core.session, data, length)
        self.received += 1
        if taken < 0:
            self.core.pending = True
            raise H2Error(api.strerror(<int> taken).decode())
        if api.want_write(self.core.session):
            self.core.pending = True
        return self.happened()

    @property
    def rested(self):
        """Whether nothing was read for a millisecond: the peer may have said something in between."""
        return monotonic() - self.used > 1_000_000

    @property
    def being_read(self):
        """Whether a thread is in :meth:`fetch`."""
        return self.reading

    cpdef object fetch(self, int milliseconds):
        """Wait for bytes of the peer on a socket, and take them.

        :param milliseconds: the longest wait; -1: no limit.
        :returns: as :meth:`receive`; ``None``: another thread is doing this.
        :raises EOFError: the peer has closed; :class:`OSError`: the socket is broken; :class:`H2Error`: as
            :meth:`receive`.
        """
        cdef pollfd watched
        cdef uint8_t data[65536]
        cdef ssize_t length = -1
        if self.reading:
            return None
        self.enter()
        self.reading = True
        try:
            watched.fd = self.descriptor
            watched.events = POLLIN
            with nogil:
                if poll(&watched, 1, milliseconds) > 0:
                    length = recv(watched.fd, data, sizeof(data), MSG_DONTWAIT)
                else:
                    errno = EAGAIN
            self.used = monotonic()
            if length > 0:
                return self.took(data, length)
            if length == 0:
                raise EOFError
            if errno != EAGAIN and errno != EWOULDBLOCK and errno != EINTR:
                PyErr_SetFromErrno(OSError)
            return []
        finally:
            self.reading = False
            self.leave()

    cpdef bint flush(self) except -1:
        """Write to a socket what there is to send, or leave it to the thread that is writing already.

        :returns: False: the socket takes no more for now.
        :raises OSError: the socket is broken; :class:`H2Error`: memory is short.
        """
        cdef ssize_t count
        cdef int descriptor
        if self.writing:
            return True
        self.enter()
        descriptor = self.descriptor
        self.writing = True
        try:
            # What another thread has queued while this one was writing is seen here.
            while True:
                if self.written == self.gathered.length:
                    if not self.core.pending:
                        self.blocked = False
                        return True
                    self.gather()
                    if not self.gathered.length:
                        continue
                with nogil:
                    count = c_send(
                        descriptor, self.gathered.data + self.written, self.gathered.length - self.written,
                        MSG_DONTWAIT | MSG_NOSIGNAL)
                if count < 0:
                    if errno == EINTR:
                        continue
                    if errno != EAGAIN and errno != EWOULDBLOCK:
                        PyErr_SetFromErrno(OSError)
                    self.blocked = True
                    return False
                self.written += count
        finally:
            self.writing = False
            self.leave()

    def wait_to_write(self, int milliseconds):
        """Wait until the socket takes something, or has something.

        :returns: whether it takes something, and whether it has something.
        """
        cdef pollfd watched
        self.enter()
        watched.fd = self.descriptor
        watched.events = POLLIN | POLLOUT
        watched.revents = 0
        with nogil:
            poll(&watched, 1, milliseconds)
        self.leave()
        return bool(watched.revents & POLLOUT), bool(watched.revents & ~POLLOUT)

    @property
    def stuck(self):
        """Whether the socket took no more when it was last written to."""
        return self.blocked

    cdef list happened(self):
        cdef list found = []
        cdef State *state
        cdef Stream stream
        cdef bint closed
        while self.core.changed_first != NULL:
            state = self.core.changed_first
            self.core.changed_first = state.next_changed
            if self.core.changed_first == NULL:
                self.core.changed_last = NULL
            state.changed = False
            state.next_changed = NULL
            # The list's share in a closed one goes to no one.
            closed = state.closed
            stream = self.open.get(state.id)
            if stream is None:
                stream = self.wrap(state)
            found.append(stream)
            if closed:
                self.open.pop(state.id, None)
                release(state)
        return found

    def send(self):
        """The next bytes to write, at most about 128 KiB; empty: nothing for now.

        :raises H2Error: memory is short.
        """
        self.gather()
        return PyBytes_FromStringAndSize(<const char *> self.gathered.data, self.gathered.length)

    cdef int gather(self) except -1:
        cdef const uint8_t *data = NULL
        cdef ssize_t length = 0
        self.gathered.length = 0
        self.written = 0
        self.core.batch += 1
        self.core.pending = False
        while self.gathered.length < SEND_AT_ONCE:
            length = api.send(self.core.session, &data)
            if length <= 0:
                break
            if put(&self.gathered, data, length):
                raise MemoryError
        if length < 0:
            raise H2Error(api.strerror(<int> length).decode())
        if length > 0:
            self.core.pending = True
        return 0

    def sent(self):
        """The streams that sending has changed: those that closed, or whose queue is empty now."""
        return self.happened() if self.core.changed_first != NULL else []

    cpdef Stream request(self, Block block, tuple extra, bytes message):
        """Begin a unary call.

        :param block: headers.
        :param extra: more of them: names, values, and whether HPACK may remember the pair.
        :param message: serialized.
        :raises H2Error: no stream can be begun on this connection any more; :class:`EOFError`: it is closed.
        """
        if self.closing:
            raise EOFError("the connection is closed")
        cdef Pair pairs[MAX_HEADERS]
        cdef size_t count = gathered(pairs, block, extra)
        cdef Provider provider
        cdef int32_t stream_id
        cdef State *state = opened(&self.core, -1)
        cdef Stream stream
        if state == NULL:
            raise MemoryError
        if frame(&state.out, 0, message):
            ended_unseen(&self.core, state)
            raise MemoryError
        state.out_end = True
        provider.source.pointer = state
        provider.read = on_read
        stream_id = api.submit_request(self.core.session, NULL, pairs, count, &provider, state)
        if stream_id < 0:
            ended_unseen(&self.core, state)
            raise H2Error(api.strerror(stream_id).decode())
        state.id = stream_id
        self.core.pending = True
        stream = self.wrap(state)
        return stream

    def exchange(self, Block block not None, tuple extra not None, bytes message not None, int milliseconds):
        """:meth:`request`, :meth:`flush` and :meth:`fetch` in one: all that a call needs whose answer comes next.

        :returns: the stream; :attr:`Stream.news` is what :meth:`fetch` gave, without it.
        :raises H2Error: no stream can be begun; :class:`EOFError`: it is closed. Nothing was sent.
        """
        cdef Stream stream = self.request(block, extra, message)
        cdef object changed = None
        try:
            if self.flush():
                changed = self.fetch(milliseconds)
        except (OSError, EOFError, H2Error) as error:
            changed = error
        if type(changed) is list and stream in changed:
            changed.remove(stream)  # or it would refer to itself, and its buffers wait for the garbage collector
        stream.news = changed
        stream.plain = (
            stream.state.closed and stream.state.remote_end and stream.state.grpc_status == 0
            and stream.state.http_status == 200 and not self.core.goaway and not self.core.pending
        )
        return stream

    def respond(self, Stream stream not None, Block block not None, tuple extra not None):
        """Send response headers; what follows is told by :meth:`data` and :meth:`end`."""
        cdef Pair pairs[MAX_HEADERS]
        cdef size_t count = gathered(pairs, block, extra)
        cdef Provider provider
        if stream.state.closed:
            return
        provider.source.pointer = stream.state
        provider.read = on_read
        self.check(api.submit_response(self.core.session, stream.state.id, pairs, count, &provider))
        self.core.pending = True

    def data(self, Stream stream not None, bytes message not None):
        """Send a message, after :meth:`respond`."""
        if stream.state.closed or stream.state.out_end:
            return
        forget(&stream.state.out, &stream.state.out_read)  # a stream may never be all framed before the next message
        if frame(&stream.state.out, 0, message):
            raise MemoryError
        self.resume(stream.state)

    def end(self, Stream stream not None, Block block not None, tuple extra not None):
        """Send the trailers and end, after :meth:`respond`."""
        cdef Pair pairs[MAX_HEADERS]
        cdef size_t count = gathered(pairs, block, extra)
        cdef State *state = stream.state
        cdef uint32_t lengths[2]
        if state.closed or state.out_end:
            return
        for index in range(count):
            lengths[0] = <uint32_t> pairs[index].name_length
            lengths[1] = <uint32_t> pairs[index].value_length
            if (
                put(&state.end, lengths, sizeof(lengths))
                or put(&state.end, pairs[index].name, lengths[0])
                or put(&state.end, pairs[index].value, lengths[1])
            ):
                raise MemoryError
        state.end_count = <int> count
        state.out_end = True
        self.resume(state)

    def refuse(self, Stream stream not None, Block block not None, tuple extra not None):
        """Send headers that are the whole response."""
        cdef Pair pairs[MAX_HEADERS]
        cdef size_t count = gathered(pairs, block, extra)
        if stream.state.closed:
            return
        stream.state.out_end = True
        self.check(api.submit_response(self.core.session, stream.state.id, pairs, count, NULL))
        self.core.pending = True

    cdef resume(self, State *state):
        if state.deferred:
            state.deferred = False
            api.resume_data(self.core.session, state.id)
        self.core.pending = True

    def reset(self, Stream stream not None, uint32_t code):
        """Send RST_STREAM; without effect on a stream that is closed."""
        if not stream.state.closed:
            stream.state.reset_here = True
            api.submit_reset(self.core.session, 0, stream.state.id, code)
            self.core.pending = True

    def ping(self):
        """Send a PING; its answer counts in :attr:`pings`."""
        api.submit_ping(self.core.session, 0, NULL)
        self.core.pending = True

    def shutdown(self, uint32_t code=0, bytes text=b""):
        """Send a GOAWAY: calls after those that have come are refused, those go on.

        :param text: what is said beside the code.
        """
        cdef const uint8_t *said = <const uint8_t *> PyBytes_AS_STRING(text)
        self.take_no_more()
        api.submit_goaway(self.core.session, 0, self.core.last_taken, code, said, PyBytes_GET_SIZE(text))
        self.core.pending = True

    def terminate(self, uint32_t code):
        """Send a GOAWAY, and nothing after it."""
        self.take_no_more()
        api.terminate(self.core.session, code)
        self.core.pending = True

    cdef void take_no_more(self) noexcept:
        self.core.last_taken = min(self.core.last_taken, api.last_processed(self.core.session))


cdef void ended_unseen(Core *core, State *state) noexcept nogil:
    """Take back a stream that never came to be."""
    core.first = state.after
    if state.after != NULL:
        state.after.before = NULL
    core.streams -= 1
    release(state)

cdef int frame(Buffer *buffer, uint8_t compressed, bytes message) noexcept:
    cdef size_t length = PyBytes_GET_SIZE(message)
    cdef uint8_t prefix[PREFIX]
    prefix[0] = compressed
    prefix[1] = <uint8_t> (length >> 24)
    prefix[2] = <uint8_t> (length >> 16)
    prefix[3] = <uint8_t> (length >> 8)
    prefix[4] = <uint8_t> length
    return put(buffer, prefix, PREFIX) or put(buffer, PyBytes_AS_STRING(message), length)
