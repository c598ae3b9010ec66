/*
 * compact: writes the log's environment anew without its free pages and puts it in the old one's place by one
 * atomic exchange of directories. The old environment stays open, and so locked, until that is done: a relay
 * that starts meanwhile is refused, one that starts after it finds the new files.
 */
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/base/kv.h"
#include "relay/config/settings.h"
#include "relay/ctl/ctl.h"
#include "relay/ctl/text.h"

enum { PATH_ROOM = 4096, TABLES_MOST = 32 };

typedef bool (*file_fn)(int dir, const char *name, const struct stat *like);

static bool each_file(const char *path, file_fn fn, const struct stat *like)
{
    DIR *d = opendir(path);
    if (!d)
        return false;
    bool ok = true;
    for (struct dirent *e; (e = readdir(d)) != NULL;)
        if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0)
            ok = fn(dirfd(d), e->d_name, like) && ok;
    ok = fsync(dirfd(d)) == 0 && ok;
    closedir(d);
    return ok;
}

static bool file_delete(int dir, const char *name, const struct stat *like)
{
    (void)like;
    return unlinkat(dir, name, 0) == 0;
}

/* On the disk, and owned by whom the old files belong to. */
static bool file_settle(int dir, const char *name, const struct stat *like)
{
    int fd = openat(dir, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0)
        return false;
    bool ok = fchown(fd, like->st_uid, like->st_gid) == 0 && fsync(fd) == 0;
    close(fd);
    return ok;
}

static bool directory_remove(const char *path)
{
    struct stat st;
    if (stat(path, &st) != 0)
        return true;
    return each_file(path, file_delete, NULL) && rmdir(path) == 0;
}

static bool parent_sync(const char *path)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    bool ok = fd >= 0 && fsync(fd) == 0;
    if (fd >= 0)
        close(fd);
    return ok;
}

/* Copies the open environment of `from` into `to` and exchanges the two. Returns what failed, NULL for
 * nothing. */
static const char *copy_and_swap(struct kv_env *env, const char *parent, const char *from, const char *to)
{
    struct stat like;
    if (!directory_remove(to))
        return "an older copy cannot be removed";
    if (stat(from, &like) != 0 || kv_copy_compact(env, to) != RM_OK)
        return "the copy failed: is there enough free disk?";
    if (chmod(to, like.st_mode & 07777) != 0 || chown(to, like.st_uid, like.st_gid) != 0 ||
        !each_file(to, file_settle, &like))
        return "the copy cannot be brought to the disk";
    if (renameat2(AT_FDCWD, to, AT_FDCWD, from, RENAME_EXCHANGE) != 0)
        return "the file system cannot exchange two directories";
    return parent_sync(parent) ? NULL : "the exchange may not be on the disk yet";
}

static int compact(struct ctl_call *call, const char *data, uint64_t map_bytes)
{
    char from[PATH_ROOM], to[PATH_ROOM], before_text[TEXT_ROOM], after_text[TEXT_ROOM];
    snprintf(from, sizeof(from), "%s/log", data);
    snprintf(to, sizeof(to), "%s/log.compact", data);
    struct stat st;
    if (stat(from, &st) != 0) {
        fprintf(call->err, "remuda: there is no log in %s\n", data);
        return CTL_FAILED;
    }
    struct kv_options options = {
        .dir = from, .map_bytes = map_bytes, .sync = true, .max_tables = TABLES_MOST, .max_readers = 16};
    struct kv_env *env;
    const char *why = NULL;
    int rc = kv_open(&options, &env, &why);
    if (rc != RM_OK) {
        fprintf(call->err, "remuda: %s: %s%s\n", from, rm_strerror(rc),
                rc == RM_ELOCKED ? ": the relay is running, stop it first" : "");
        return CTL_FAILED;
    }
    struct kv_stat before = {0};
    rc = kv_stat(env, &before);
    const char *failed = rc == RM_OK ? copy_and_swap(env, data, from, to) : "its figures cannot be read";
    kv_close(env);
    if (!directory_remove(to) && !failed)
        failed = "done, but the old files in log.compact cannot be removed";
    if (failed) {
        fprintf(call->err, "remuda: %s\n", failed);
        return CTL_FAILED;
    }
    fprintf(call->out, "%s: %s, of which %s were free and went back to the disk\n", from,
            text_bytes(before.file_bytes, before_text), text_bytes(before.free_bytes, after_text));
    return CTL_OK;
}

int ctl_compact(struct ctl_call *call)
{
    struct settings *s;
    struct buf error = BUF_INIT;
    int rc = settings_load(ctl_config_path(call), &s, &error);
    if (rc != RM_OK) {
        fprintf(call->err, "%s\n", buf_cstr(&error));
        buf_fini(&error);
        return CTL_CONFIG;
    }
    buf_fini(&error);
    rc = compact(call, s->data, s->map_bytes);
    settings_unref(s);
    return rc;
}
