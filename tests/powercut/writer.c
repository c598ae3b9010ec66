/*
 * The program under the power cut: appends messages, rows and deletions through the embedded log and notes
 * what was told durable, with the journal's position at that moment.
 *   powercut_writer DIR NOTES MESSAGES sync|nosync
 */
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>

#include "queue/embedded/embedded.h"
#include "tests/powercut/notes.h"

enum { MESSAGES_A_GROUP = 7, LAG = 60 };

struct run {
    struct log_client *client;
    FILE *notes;
    uint64_t (*position)(void);
    uint64_t line[POWERCUT_PARTITIONS]; /* offsets of messages LAG behind, to delete below */
};

struct sent {
    struct run *run;
    uint32_t number;
};

static void note(struct run *r, enum note_kind kind, uint32_t partition, uint32_t number, uint64_t offset)
{
    struct note n = {r->position(), offset, kind, partition, number, 0};
    ENSURE(fwrite(&n, sizeof(n), 1, r->notes) == 1);
}

static void on_done(void *arg, struct log_batch *b, int status)
{
    struct sent *s = arg;
    ENSURE(status == RM_OK);
    uint64_t offset = log_batch_offset(b, 0);
    note(s->run, NOTE_ACKED, s->number % POWERCUT_PARTITIONS, s->number, offset);
    if (s->number >= LAG)
        s->run->line[s->number % POWERCUT_PARTITIONS] = offset - LAG / POWERCUT_PARTITIONS;
    free(s);
}

static struct span row_key(uint32_t number, char out[16])
{
    return span_of(out, (size_t)snprintf(out, 16, "row%08u", number));
}

static void send(struct run *r, uint32_t number)
{
    char bytes[POWERCUT_BODY_MOST], key[16];
    uint32_t p = number % POWERCUT_PARTITIONS;
    struct blob *body = blob_of(bytes, message_bytes(number, bytes));
    struct log_batch *b = log_batch_new(LOG_OWNER);
    log_batch_append(b, LOG_MAIL, p, span_of(NULL, 0), body, NULL);
    log_batch_put(b, LOG_BACKLOG, p, row_key(number, key), span_of(bytes + 8, 8));
    if (number >= LAG)
        log_batch_erase(b, LOG_BACKLOG, p, row_key(number - LAG, key));
    if (number % 50 == 49 && r->line[p]) {
        note(r, NOTE_DELETE, p, 0, r->line[p]);
        log_batch_delete_below(b, LOG_MAIL, p, r->line[p]);
    }
    blob_unref(body);
    struct sent *s = malloc(sizeof(*s));
    ENSURE(s);
    *s = (struct sent){r, number};
    log_submit(r->client, b, on_done, s);
}

int main(int argc, char **argv)
{
    ENSURE(argc == 5);
    struct run r = {.notes = fopen(argv[2], "wb")};
    r.position = (uint64_t(*)(void))dlsym(RTLD_DEFAULT, "powercut_position");
    if (!r.notes || !r.position) {
        fputs("powercut_writer: run it under the shim\n", stderr);
        return 2;
    }
    struct embedded_options options = {
        .dir = argv[1], .map_bytes = 256u << 20, .sync = strcmp(argv[4], "sync") == 0};
    struct log_options common = {.partitions = POWERCUT_PARTITIONS, .index = powercut_index};
    struct log *log;
    const char *why = "";
    if (embedded_log_open(&options, &common, &log, &why) != RM_OK) {
        fprintf(stderr, "powercut_writer: %s\n", why);
        return 2;
    }
    r.client = log_client_new(log, NULL, NULL);
    note(&r, NOTE_OPENED, 0, 0, 0);
    for (uint32_t i = 0; i < (uint32_t)atoi(argv[3]); i++) {
        send(&r, i);
        if (i % MESSAGES_A_GROUP == MESSAGES_A_GROUP - 1)
            log_client_flush(r.client);
    }
    log_client_flush(r.client);
    log_client_free(r.client);
    log_close(log);
    return fclose(r.notes) == 0 ? 0 : 2;
}
