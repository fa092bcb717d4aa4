# The part of nghttp2's C interface that _h2.pyx uses: declarations of its own, bound at run time.
#
# nghttp2 keeps its binary interface (libnghttp2.so.14 since 2016), so neither its headers nor the library are
# needed to compile. Structures are filled or read by nghttp2: fields and their order are its.
from libc.stdint cimport int32_t, uint8_t, uint32_t, uint64_t

cdef struct Pair:  # nghttp2_nv
    const uint8_t *name
    const uint8_t *value
    size_t name_length
    size_t value_length
    uint8_t flags

cdef struct Frame:  # nghttp2_frame_hd, with which every frame begins
    size_t length
    int32_t stream_id
    uint8_t type
    uint8_t flags
    uint8_t reserved

cdef struct Priority:  # nghttp2_priority_spec
    int32_t stream_id
    int32_t weight
    uint8_t exclusive

cdef struct Headers:  # nghttp2_headers
    Frame frame
    size_t padding
    Priority priority
    Pair *pairs
    size_t count
    int category

cdef struct GoAway:  # nghttp2_goaway
    Frame frame
    int32_t last_stream_id
    uint32_t error_code
    uint8_t *debug
    size_t debug_length
    uint8_t reserved

cdef struct Setting:  # nghttp2_settings_entry
    int32_t id
    uint32_t value

cdef union Source:  # nghttp2_data_source
    int descriptor
    void *pointer

ctypedef ssize_t (*Read)(
    void *session, int32_t stream_id, uint8_t *data, size_t length, uint32_t *flags, Source *source, void *user
) noexcept nogil

cdef struct Provider:  # nghttp2_data_provider
    Source source
    Read read

cdef struct Version:  # nghttp2_info
    int age
    int number
    const char *text
    const char *protocol

cdef struct Library:
    # nghttp2_session_callbacks_*
    int (*callbacks_new)(void **) noexcept nogil
    void (*callbacks_del)(void *) noexcept nogil
    void (*on_begin_headers)(void *, void *) noexcept nogil
    void (*on_header)(void *, void *) noexcept nogil
    void (*on_frame)(void *, void *) noexcept nogil
    void (*on_framed)(void *, void *) noexcept nogil
    void (*on_sent)(void *, void *) noexcept nogil
    void (*on_not_sent)(void *, void *) noexcept nogil
    void (*on_data)(void *, void *) noexcept nogil
    void (*on_close)(void *, void *) noexcept nogil
    # nghttp2_option_*
    int (*option_new)(void **) noexcept nogil
    void (*option_del)(void *) noexcept nogil
    void (*option_no_auto_window_update)(void *, int) noexcept nogil
    void (*option_max_send_header_block_length)(void *, size_t) noexcept nogil
    void (*option_no_closed_streams)(void *, int) noexcept nogil
    void (*option_lenient_spaces)(void *, int) noexcept nogil  # since 1.50; NULL before
    void (*option_reset_rate_limit)(void *, uint64_t, uint64_t) noexcept nogil  # since 1.57, Debian's 1.52; or NULL
    void (*option_glitch_rate_limit)(void *, uint64_t, uint64_t) noexcept nogil  # since 1.65; or NULL
    # nghttp2_session_*
    int (*client_new)(void **, void *, void *, void *) noexcept nogil
    int (*server_new)(void **, void *, void *, void *) noexcept nogil
    void (*session_del)(void *) noexcept nogil
    ssize_t (*send)(void *, const uint8_t **) noexcept nogil
    ssize_t (*receive)(void *, const uint8_t *, size_t) noexcept nogil
    int (*want_read)(void *) noexcept nogil
    int (*want_write)(void *) noexcept nogil
    int (*resume_data)(void *, int32_t) noexcept nogil
    int (*consume_connection)(void *, size_t) noexcept nogil
    int (*consume_stream)(void *, int32_t, size_t) noexcept nogil
    int (*terminate)(void *, uint32_t) noexcept nogil
    int (*set_local_window)(void *, uint8_t, int32_t, int32_t) noexcept nogil
    int (*set_user)(void *, int32_t, void *) noexcept nogil
    void *(*user)(void *, int32_t) noexcept nogil
    int32_t (*last_processed)(void *) noexcept nogil
    size_t (*outbound)(void *) noexcept nogil
    uint32_t (*remote_setting)(void *, int) noexcept nogil
    # nghttp2_submit_*
    int (*submit_settings)(void *, uint8_t, const Setting *, size_t) noexcept nogil
    int32_t (*submit_request)(void *, const void *, const Pair *, size_t, const Provider *, void *) noexcept nogil
    int (*submit_response)(void *, int32_t, const Pair *, size_t, const Provider *) noexcept nogil
    int (*submit_trailer)(void *, int32_t, const Pair *, size_t) noexcept nogil
    int (*submit_reset)(void *, uint8_t, int32_t, uint32_t) noexcept nogil
    int (*submit_ping)(void *, uint8_t, const uint8_t *) noexcept nogil
    int (*submit_goaway)(void *, uint8_t, int32_t, uint32_t, const uint8_t *, size_t) noexcept nogil
    const char *(*strerror)(int) noexcept nogil
    Version *(*version)(int) noexcept nogil
