/*
 * Framing of stored values and the decode of protobuf messages into arenas. The message types themselves
 * are the generated ones ("remuda.pb-c.h"). Pure; any thread.
 *
 * A value of the mail log is: 1 byte kind ('M' message record, 'C' chunk, 'E' end marker), 4 bytes header
 * length (big-endian), the header (Record or ChunkHeader), then the body's bytes.
 */
#ifndef REMUDA_PROTO_CODEC_H
#define REMUDA_PROTO_CODEC_H

#include "lib/base/arena.h"
#include "lib/base/buf.h"
#include "lib/base/err.h"
#include "remuda.pb-c.h"

enum { MAIL_FRAME_BYTES = 5, MAIL_HEADER_MOST = 4 * 1024 * 1024 };
enum mail_kind { MAIL_RECORD = 'M', MAIL_CHUNK = 'C' };

/* Appends frame and packed header; the caller stores the body's bytes right behind. */
void mail_frame_record(struct buf *out, const Remuda__Record *record);
void mail_frame_chunk(struct buf *out, const Remuda__ChunkHeader *header);

struct mail_view {
    enum mail_kind kind;
    struct span header; /* packed Record or ChunkHeader */
    size_t body_at;     /* where the body begins in the value */
};

/* value may be only the beginning of the stored value, as long as it holds the whole header: RM_EAGAIN tells
 * that more is needed and *need says how many bytes from the start. RM_ECORRUPT. */
int mail_view(struct span value, struct mail_view *out, size_t *need) MUST_CHECK;

/* An allocator for the generated unpack functions whose memory is the arena's: never call *_free_unpacked. */
ProtobufCAllocator arena_allocator(struct arena *a);

/* NULL on bytes that do not decode or break a bound (id of 16 bytes, at least one submission, at most 100
 * recipients each, every submission with a domain and a recipient; a RECORD_STATE has only what it brings).
 */
Remuda__Record *record_decode(struct arena *a, struct span packed);
Remuda__ChunkHeader *chunk_decode(struct arena *a, struct span packed);
Remuda__BacklogRow *row_decode(struct arena *a, struct span packed);
Remuda__EventBatch *event_batch_decode(struct arena *a, struct span packed);
Remuda__Event *event_decode(struct arena *a, struct span packed);
/* NULL also without names, with counts that are not as many as there are classes, or with numbers out of all
 * bounds. */
Remuda__PairState *pair_decode(struct arena *a, struct span packed);
Remuda__TenantState *tenant_decode(struct arena *a, struct span packed);
Remuda__OpenState *open_decode(struct arena *a, struct span packed);

/* NULL also without either window, or with numbers that cannot be summed. */
Remuda__QuotaClaim *quota_claim_decode(struct arena *a, struct span packed);

/* NULL also when it holds none of its kinds, a decision or pair without names, an id of another length, or
 * numbers out of all bounds. */
Remuda__Control *control_decode(struct arena *a, struct span packed);

/* Appends the packed message. */
void proto_pack(struct buf *out, const ProtobufCMessage *message);

/* One field of a packed message: number, all of its bytes, and the value of a varint or the bytes of the
 * rest. */
struct proto_field {
    uint32_t number;
    struct span all, bytes;
    uint64_t varint;
};
/* Takes the next field off *rest. False at the end, or where the bytes are no protobuf message. */
bool proto_field_take(struct span *rest, struct proto_field *out);

/*
 * Appends the packed record without those submissions that have another index, looking only at the fields'
 * frames: a message to a thousand domains is not decoded for one of them. False, and nothing useful in out,
 * when no submission has the index or the bytes are no protobuf message.
 */
bool record_pick(struct span packed, uint32_t index, struct buf *out);

/* Whether the body of the packed record stands in chunks. False also when the bytes are no protobuf message.
 */
bool record_is_chunked(struct span packed);

/* Identity of submission i of a record read at (partition, offset), following origin and carried. */
Remuda__SubmissionId record_submission_id(const Remuda__Record *r, uint32_t partition, uint64_t offset,
                                          size_t i);

#endif
