#include "store/datadir.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/magic.h>
#include <mntent.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>
#include "base/mem.h"

/* Makes one directory, durably: a new one's name is written out with its parent. */
static int level_make(const char *path)
{
        if (mkdir(path, 0700))
                return errno == EEXIST ? 0 : -errno;
        char *parent = mem_strdup(path);
        if (!parent)
                return -ENOMEM;
        char *slash = strrchr(parent, '/');
        if (slash)
                slash[slash == parent] = '\0';
        int rc = datadir_sync(slash ? parent : ".");
        mem_free(parent);
        return rc == -EACCES ? 0 : rc; /* a parent that we may not read is not ours to sync */
}

static int path_make(char *path)
{
        size_t n = strlen(path);
        while (n > 1 && path[n - 1] == '/')
                path[--n] = '\0';
        for (char *p = path + 1; *p; p++) {
                if (*p != '/')
                        continue;
                *p = '\0';
                int rc = level_make(path);
                *p = '/';
                if (rc && rc != -EROFS && rc != -EACCES) /* it may exist where we could not have made it */
                        return rc;
        }
        return level_make(path);
}

int datadir_make(const char *dir, char *err, size_t errn)
{
        char *path = mem_strdup(dir);
        struct stat st;
        int rc = path ? path_make(path) : -ENOMEM;
        if (!rc && stat(path, &st))
                rc = -errno;
        else if (!rc && !S_ISDIR(st.st_mode))
                rc = -ENOTDIR;
        if (!rc && access(path, R_OK | W_OK | X_OK))
                rc = -errno;
        if (rc)
                snprintf(err, errn, "data directory %s: %s", dir, strerror(-rc));
        mem_free(path);
        return rc;
}

/* Not all of these are in the kernel's public header. */
static const struct {
        uint32_t magic;
        const char *name;
} network_fs[] = {
        { NFS_SUPER_MAGIC, "NFS" },   { SMB_SUPER_MAGIC, "SMB" }, { 0xFF534D42, "CIFS" },
        { 0xFE534D42, "SMB2" },       { AFS_SUPER_MAGIC, "AFS" }, { 0x6B414653, "AFS" },
        { CODA_SUPER_MAGIC, "Coda" }, { NCP_SUPER_MAGIC, "NCP" }, { 0x00C36400, "Ceph" },
        { 0x0BD00BD0, "Lustre" },     { 0x47504653, "GPFS" },     { 0x7461636F, "OCFS2" },
        { 0x01161970, "GFS2" },       { 0x19830326, "BeeGFS" },
};

/* FUSE itself says nothing: overlays of containers are local, sshfs is not. The mount's type tells. */
static const char *const remote_fuse[] = {
        "fuse.sshfs",     "fuse.s3fs",     "fuse.rclone", "fuse.glusterfs", "fuse.gcsfuse", "fuse.davfs",
        "fuse.curlftpfs", "fuse.mount-s3", "fuse.ceph",   "fuse.juicefs",   "fuse.moosefs", "fuse.blobfuse2",
};

static bool fuse_is_remote(const char *dir)
{
        char path[PATH_MAX], buffer[4096];
        FILE *mounts = setmntent("/proc/self/mounts", "r");
        bool known = realpath(dir, path) != NULL;
        struct mntent entry;
        size_t longest = 0;
        bool remote = false;
        while (known && mounts && getmntent_r(mounts, &entry, buffer, sizeof(buffer))) {
                size_t n = strlen(entry.mnt_dir);
                bool inside =
                        !strncmp(path, entry.mnt_dir, n) && (n == 1 || path[n] == '/' || path[n] == '\0');
                if (!inside || n < longest)
                        continue;
                longest = n;
                remote = false;
                for (size_t i = 0; i < sizeof(remote_fuse) / sizeof(*remote_fuse); i++)
                        remote |= !strcmp(entry.mnt_type, remote_fuse[i]);
        }
        if (mounts)
                endmntent(mounts);
        return remote;
}

int datadir_check_local(const char *dir, char *err, size_t errn)
{
        struct statfs fs;
        if (statfs(dir, &fs)) {
                int rc = -errno;
                snprintf(err, errn, "data directory %s: %s", dir, strerror(-rc));
                return rc;
        }
        const char *name = NULL;
        for (size_t i = 0; i < sizeof(network_fs) / sizeof(*network_fs); i++) {
                if ((uint32_t)fs.f_type == network_fs[i].magic)
                        name = network_fs[i].name;
        }
        if ((uint32_t)fs.f_type == 0x65735546 && fuse_is_remote(dir))
                name = "remote FUSE";
        if (!name)
                return 0;
        snprintf(err, errn,
                 "data directory %s lies on a network file system (%s), where a database is not safe; "
                 "use a local disk",
                 dir, name);
        return -ENOTSUP;
}

int datadir_lock(const char *dir, int *ret_fd, char *err, size_t errn)
{
        char path[4096], holder[32] = "";
        int rc = 0, fd = -1;
        *ret_fd = -1;
        if ((size_t)snprintf(path, sizeof(path), "%s/serve.lock", dir) >= sizeof(path)) {
                rc = -ENAMETOOLONG;
                goto fail;
        }
        fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
        if (fd < 0 || flock(fd, LOCK_EX | LOCK_NB)) {
                rc = errno == EWOULDBLOCK ? -EBUSY : -errno;
                goto fail;
        }
        int n = snprintf(holder, sizeof(holder), "%ld\n", (long)getpid());
        if (ftruncate(fd, 0) || pwrite(fd, holder, (size_t)n, 0) != n) {
                rc = -errno;
                goto fail;
        }
        *ret_fd = fd;
        return 0;
fail:
        if (rc == -EBUSY) {
                ssize_t got = pread(fd, holder, sizeof(holder) - 1, 0);
                holder[got > 0 ? strcspn(holder, "\n") : 0] = '\0';
                snprintf(err, errn, "data directory %s is in use by another server (process %s)", dir,
                         *holder ? holder : "unknown");
        } else {
                snprintf(err, errn, "%s: %s", path, strerror(-rc));
        }
        if (fd >= 0)
                close(fd);
        return rc;
}

int datadir_sync(const char *dir)
{
        int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (fd < 0)
                return -errno;
        int rc = fsync(fd) ? -errno : 0;
        close(fd);
        return rc;
}
