/*
 * Trouble of the environment (disk, memory, peers, files) as negative codes.
 * A bug is not an error code but an ENSURE that stays in release builds; a remote SMTP
 * answer is data (lib/smtp/reply.h), never one of these.
 */
#ifndef REMUDA_LIB_BASE_ERR_H
#define REMUDA_LIB_BASE_ERR_H

/* 0 is success; every function that returns these is MUST_CHECK. */
enum rm_err {
    RM_OK = 0,
    RM_ENOMEM = -1,    /* out of memory or over a configured memory bound */
    RM_EINVAL = -2,    /* input that does not parse */
    RM_ENOTFOUND = -3, /* no such key, file, record */
    RM_EFULL = -4,     /* disk below its floor, map full, queue at its bound */
    RM_EIO = -5,       /* the system refused a read, write or sync */
    RM_EAGAIN = -6,    /* not now; try again when told */
    RM_ECLOSED = -7,   /* the object is stopping or gone */
    RM_ELOCKED = -8,   /* another process has it */
    RM_ECORRUPT = -9,  /* stored bytes do not decode */
    RM_ETIMEDOUT = -10,
    RM_EREFUSED = -11, /* peer or policy said no */
};

#define MUST_CHECK __attribute__((warn_unused_result))

/* A short constant phrase for a code, for logs. Never NULL. */
const char *rm_strerror(int err);

/* Prints where and what to stderr and aborts. Thread-safe. */
_Noreturn void rm_bug(const char *file, int line, const char *what);

/* An assertion that stays in release builds: its failure is a bug in Remuda, never bad input. */
#define ENSURE(cond) ((cond) ? (void)0 : rm_bug(__FILE__, __LINE__, #cond))

#endif
