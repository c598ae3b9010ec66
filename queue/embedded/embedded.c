/* Opening and closing the embedded log. */
#include "queue/embedded/embedded.h"

#include <stdlib.h>

#include "queue/embedded/embedded_private.h"

static struct embedded *embedded_of(struct log *log)
{
    return CONTAINER_OF(log, struct embedded, store.log);
}

static void embedded_close(struct log *log)
{
    struct embedded *e = embedded_of(log);
    log_queue_close(log);
    ENSURE(pthread_join(e->thread, NULL) == 0);
    store_fini(&e->store);
    free(e);
}

static void embedded_figures(struct log *log, struct log_figures *out)
{
    store_figures(&embedded_of(log)->store, out);
}

static const struct log_backend backend = {
    .capabilities = LOG_ATOMIC,
    .close = embedded_close,
    .figures = embedded_figures,
    .read_begin = store_read_begin,
    .read_end = store_read_end,
    .read_next = store_read_next,
    .read_at = store_read_at,
    .read_end_offset = store_read_end_offset,
    .read_key = store_read_key,
    .read_key_next = store_read_key_next,
    .read_index = store_read_index,
};

int embedded_log_open(const struct embedded_options *options, const struct log_options *common,
                      struct log **out, const char **why)
{
    *out = NULL;
    struct embedded *e = calloc(1, sizeof(*e));
    ENSURE(e);
    struct store_options store = {.dir = options->dir,
                                  .map_bytes = options->map_bytes,
                                  .sync = options->sync,
                                  .max_readers = options->max_readers};
    store_init(&e->store, &backend, &store, common);
    int err = store_open(&e->store, why);
    if (err != RM_OK) {
        store_fini(&e->store);
        free(e);
        return err;
    }
    space_check(&e->store, 0);
    ENSURE(pthread_create(&e->thread, NULL, writer_run, e) == 0);
    *out = &e->store.log;
    return RM_OK;
}
