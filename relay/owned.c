#include "relay/owned.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "queue/partition.h"

enum { PATH_ROOM = 4096, TOLD_MOST = 4096, BOOT_ROOM = 40 };

/* The kernel's, "" when it does not tell. */
static void boot_id(char out[BOOT_ROOM])
{
    FILE *f = fopen("/proc/sys/kernel/random/boot_id", "re");
    if (!f || fscanf(f, "%39s", out) != 1)
        out[0] = '\0';
    if (f)
        fclose(f);
}

static void path_of(const char *data, const char *name, char out[PATH_ROOM])
{
    snprintf(out, PATH_ROOM, "%s/%s", data, name);
}

int owned_note(const char *data, uint32_t partition, uint64_t epoch)
{
    char path[PATH_ROOM], boot[BOOT_ROOM], line[128];
    path_of(data, "owned", path);
    boot_id(boot);
    int n =
        snprintf(line, sizeof(line), "%s %" PRIu32 " %" PRIu64 "\n", boot[0] ? boot : "-", partition, epoch);
    int fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
    bool written = fd >= 0 && write(fd, line, (size_t)n) == n;
    if (fd >= 0)
        close(fd);
    return written ? RM_OK : RM_EIO;
}

void owned_forget(const char *data)
{
    char path[PATH_ROOM];
    path_of(data, "owned", path);
    (void)unlink(path);
}

/* What is being told stands aside, so that what this process gains goes into a file of its own. What was not
 * told by the start before is told first. */
static FILE *open_past(const char *data)
{
    char path[PATH_ROOM], past[PATH_ROOM];
    path_of(data, "owned", path);
    path_of(data, "owned.past", past);
    if (access(past, F_OK) != 0 && rename(path, past) != 0)
        return NULL;
    return fopen(past, "re");
}

static size_t gather(const struct node *node, FILE *f, struct log_batch *b)
{
    char line[128], value[PARTITION_CLOSED_MOST], now[BOOT_ROOM], boot[BOOT_ROOM];
    uint32_t partition;
    uint64_t epoch;
    size_t n = 0;
    boot_id(now);
    while (n < TOLD_MOST && fgets(line, sizeof(line), f)) {
        if (sscanf(line, "%39s %" SCNu32 " %" SCNu64, boot, &partition, &epoch) != 3 ||
            strcmp(boot, now) != 0 || partition >= log_partitions(node->log))
            continue;
        log_batch_append(b, LOG_EVENTS, partition, partition_closed_value(epoch, value), NULL, NULL);
        n++;
    }
    return n;
}

/* What was not durable is told by the next start. */
static void told(void *arg, struct log_batch *b, int status)
{
    char *past = arg;
    (void)b;
    if (status == RM_OK)
        (void)unlink(past);
    free(past);
}

void owned_tell(const struct node *node, struct log_client *client)
{
    char past[PATH_ROOM];
    FILE *f = open_past(node->settings->data);
    if (!f)
        return;
    struct log_batch *b = log_batch_new(LOG_OWNER);
    size_t n = gather(node, f, b);
    fclose(f);
    path_of(node->settings->data, "owned.past", past);
    if (n == 0) {
        (void)unlink(past);
        log_batch_free(b);
        return;
    }
    char *copy = strdup(past);
    ENSURE(copy);
    log_submit(client, b, told, copy);
}
