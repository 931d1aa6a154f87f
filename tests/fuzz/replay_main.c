/*
 * replay_main.c: runs a fuzz target over kept inputs, without libFuzzer.
 *
 * Every argument is a file, or a folder whose regular files are the inputs. A folder that does not
 * exist is an empty one: a target without known crashes has no crash folder. The target fails by
 * crashing (or by a sanitizer's report), so this program only has to name the input it is about to
 * run. Exit code 0: all inputs ran; 1: an input could not be read, or there was none at all.
 */
#include "base/mem.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Inputs larger than this are a mistake in the corpus, not a test. */
enum { INPUT_MAX = 64 << 20 };

static int replay_file(const char *path)
{
        FILE *file = fopen(path, "rb");
        struct stat st;
        uint8_t *data = NULL;
        int rc = -1;

        if (!file || fstat(fileno(file), &st) || st.st_size > INPUT_MAX)
                goto out;
        /* Exactly as long as the input, so that reading past it is seen by AddressSanitizer. */
        data = mem_alloc(st.st_size ? (size_t)st.st_size : 1);
        if (!data || fread(data, 1, (size_t)st.st_size, file) != (size_t)st.st_size)
                goto out;
        fprintf(stderr, "%s\n", path);
        LLVMFuzzerTestOneInput(data, (size_t)st.st_size);
        rc = 0;
out:
        if (rc)
                fprintf(stderr, "%s: cannot read: %s\n", path, strerror(errno));
        if (file)
                fclose(file);
        mem_free(data);
        return rc;
}

/* Replays every regular file of a folder; returns how many, or -1 when one cannot be read. */
static long replay_folder(const char *path)
{
        DIR *dir = opendir(path);
        long count = 0;

        if (!dir)
                return errno == ENOENT ? 0 : -1;
        for (struct dirent *entry; count >= 0 && (entry = readdir(dir));) {
                char name[PATH_MAX];
                struct stat st;

                if (entry->d_name[0] == '.')
                        continue;
                if (snprintf(name, sizeof name, "%s/%s", path, entry->d_name) >= (int)sizeof name)
                        continue;
                if (stat(name, &st) || !S_ISREG(st.st_mode))
                        continue;
                count = replay_file(name) ? -1 : count + 1;
        }
        closedir(dir);
        return count;
}

int main(int argc, char **argv)
{
        long total = 0;

        for (int i = 1; i < argc; i++) {
                struct stat st;
                long count;

                if (!stat(argv[i], &st) && S_ISREG(st.st_mode))
                        count = replay_file(argv[i]) ? -1 : 1;
                else
                        count = replay_folder(argv[i]);
                if (count < 0)
                        return 1;
                total += count;
        }
        fprintf(stderr, "%ld inputs replayed\n", total);
        return total ? 0 : 1;
}
