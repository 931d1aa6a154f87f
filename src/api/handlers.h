/* The handlers of the operations, for routes.c. Each file of a family documents its own. */
#ifndef CAIRN_API_HANDLERS_H
#define CAIRN_API_HANDLERS_H

#include "api/req.h"

handler_fn batch_cancel_one;          /* batches.c */
handler_fn batch_create_one;          /* batches.c */
handler_fn chat_create;               /* chat.c */
handler_fn chat_stored_messages;      /* stored.c */
handler_fn completion_create;         /* completions.c */
handler_fn embedding_create;          /* embeddings.c */
handler_fn moderation_create;         /* moderations.c */
handler_fn model_list;                /* models.c */
handler_fn model_retrieve;            /* models.c */
handler_fn response_connect;          /* response_ws.c */
handler_fn response_create;           /* responses.c */
handler_fn response_cancel;           /* response_background.c */
handler_fn response_retrieve;         /* response_background.c */
handler_fn response_input_items;      /* response_items.c */
handler_fn response_input_tokens;     /* responses.c */
handler_fn response_compact;          /* response_compact.c */
handler_fn conversation_items_create; /* conversations.c */
handler_fn file_create;               /* files.c */
handler_fn file_content;              /* files.c */
handler_fn upload_create;             /* uploads.c */
handler_fn upload_add_part;           /* uploads.c */
handler_fn upload_complete;           /* uploads.c */
handler_fn upload_cancel;             /* uploads.c */
handler_fn health_live;               /* health.c */
handler_fn health_ready;              /* health.c */
handler_fn health_metrics;            /* health.c */
handler_fn openapi_document;          /* health.c */
handler_fn webhook_create;            /* webhooks.c */
handler_fn webhook_rotate;            /* webhooks.c */
handler_fn webhook_test;              /* webhooks.c */
handler_fn webhook_event_types;       /* webhooks.c */

/* The id of the classifier when a body of createModeration asks for it, by whichever of its names or by none;
 * else NULL. Static. */
const char *moderation_model(const json_t *body);

struct registry;
/* The reply of listModels; NULL when memory is out. */
json_t *model_list_json(const struct registry *models, bool ready); /* ready: as if all were */
#endif
