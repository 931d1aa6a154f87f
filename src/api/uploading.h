/* What files and uploads share. */
#ifndef CAIRN_API_UPLOADING_H
#define CAIRN_API_UPLOADING_H

#include "api/req.h"
#include "store/blob.h"

#define UPLOAD_PART_MAX ((uint64_t)64 << 20) /* bytes of a part of an upload, whatever a file may have */

/* Commits the one file of a form's field `name` as a blob; 400 when it is missing or empty. 0 or -1. */
int uploading_commit(struct req *r, const char *name, struct blob_info *ret, struct api_err *reterr);
/* When a file that is made at `created` expires, by the body's expires_after and the purpose; 0: never. */
int64_t uploading_expires(const json_t *expires_after, const char *purpose, int64_t created);

#define FILES_UPKEEP_MS ((int64_t)3600 * 1000)
#define FILES_UPKEEP_FIRST_MS 1000 /* a crash leaves orphans: soon after the start */
/* Removes the blobs that no row names any more. */
void files_upkeep(struct api *api);
#define FILES_SWEEP_MS 2000
/* Removes the blobs that were being read when their files were deleted. */
void files_sweep(struct api *api);
#endif
