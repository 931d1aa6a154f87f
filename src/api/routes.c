#include "api/routes.h"

#include <string.h>
#include "api/api.h"
#include "api/handlers.h"
#include "api/resources.h"
#include "base/mem.h"

/* Only what a row of resources.c cannot say. */
static const struct route routes[] = {
        { "createChatCompletion", chat_create, RT_METERED, NULL },
        { "getChatCompletionMessages", chat_stored_messages, 0, NULL },
        { "createCompletion", completion_create, RT_METERED, NULL },
        { "createEmbedding", embedding_create, RT_SLOW | RT_METERED, NULL },
        { "createFile", file_create, RT_FILES, NULL },
        { "downloadFile", file_content, RT_FILES, NULL },
        { "createUpload", upload_create, 0, NULL },
        { "addUploadPart", upload_add_part, RT_FILES, NULL },
        { "completeUpload", upload_complete, RT_FILES, NULL },
        { "cancelUpload", upload_cancel, RT_FILES, NULL },
        { "createBatch", batch_create_one, 0, NULL },
        { "cancelBatch", batch_cancel_one, 0, NULL },
        { "createModeration", moderation_create, RT_METERED, NULL },
        { "listModels", model_list, RT_FAST, NULL },
        { "retrieveModel", model_retrieve, RT_FAST, NULL },
        { "createResponse", response_create, RT_METERED, NULL },
        { "getResponse", response_retrieve, 0, NULL },
        { "cancelResponse", response_cancel, 0, NULL },
        { "connectResponses", response_connect, RT_FAST, NULL },
        { "listInputItems", response_input_items, 0, NULL },
        { "Getinputtokencounts", response_input_tokens, 0, NULL },
        { "Compactconversation", response_compact, RT_SLOW | RT_METERED, NULL },
        { "createConversationItems", conversation_items_create, 0, NULL },
        { "createWebhookEndpoint", webhook_create, 0, NULL },
        { "rotateWebhookEndpointSecret", webhook_rotate, 0, NULL },
        { "testWebhookEndpoint", webhook_test, 0, NULL },
        { "listWebhookEventTypes", webhook_event_types, RT_FAST, NULL },
        { "getHealth", health_live, RT_FAST, NULL },
        { "getReadiness", health_ready, RT_HEALTH, NULL },
        { "getMetrics", health_metrics, RT_HEALTH, NULL },
        { "getOpenapi", openapi_document, RT_FAST, NULL },
};

static const struct route *find(const char *operation)
{
        for (size_t i = 0; i < sizeof(routes) / sizeof(*routes); i++)
                if (!strcmp(routes[i].operation, operation))
                        return &routes[i];
        return NULL;
}

bool api_serves(const struct operation *op)
{
        const struct resource *res;
        return find(op->id) || resource_handler(op->id, &res);
}

static unsigned flags_of(const struct resource *res, const char *operation)
{
        return res->flags & RES_BLOBS && res->del && !strcmp(res->del, operation) ? RT_FILES : 0;
}

const struct route **routes_build(void)
{
        size_t n;
        const struct operation *ops = contract_operations(&n);
        /* The pointers, then room for the routes that resource rows make. */
        const struct route **table = mem_calloc(n, sizeof(*table) + sizeof(struct route));
        if (!table)
                return NULL;
        struct route *made = (struct route *)(table + n);
        for (size_t i = 0; i < n; i++) {
                const struct resource *res;
                handler_fn *handler = resource_handler(ops[i].id, &res);
                if (handler)
                        made[i] = (struct route){ ops[i].id, handler, flags_of(res, ops[i].id), res };
                table[i] = handler ? &made[i] : find(ops[i].id);
        }
        return table;
}

void routes_free(const struct route **table)
{
        mem_free(table);
}

size_t routes_rows(void)
{
        return sizeof(routes) / sizeof(*routes) + resource_operations();
}
