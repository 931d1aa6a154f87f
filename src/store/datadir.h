/* The data directory: made private, refused on a network file system, held by one server at a time. */
#ifndef CAIRN_STORE_DATADIR_H
#define CAIRN_STORE_DATADIR_H

#include <stddef.h>

/* Makes `dir` and its missing parents (mode 0700). 0 or negative errno with a sentence in err. */
int datadir_make(const char *dir, char *err, size_t errn);
/* -ENOTSUP when dir lies on a file system whose locks and shared memory do not work between machines:
 * NFS, SMB, AFS, Ceph, Lustre, GPFS, and FUSE mounts known to be remote (sshfs, s3fs, ...). */
int datadir_check_local(const char *dir, char *err, size_t errn);
/* Takes DIR/serve.lock for the life of the process or until the descriptor *ret_fd is closed. -EBUSY, with
 * the holder's process number in err, when another process serves the directory. */
int datadir_lock(const char *dir, int *ret_fd, char *err, size_t errn);
/* Makes the names in dir durable. */
int datadir_sync(const char *dir);
#endif
