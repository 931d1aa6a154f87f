/* The text of GET /openapi.json, put into the program by the assembler: no C compiler likes an array of
 * 720,000 numbers. */
#include "contract/contract.h"

__asm__(".pushsection .rodata\n"
        ".balign 16\n"
        ".globl contract_openapi_text\n"
        ".hidden contract_openapi_text\n"
        "contract_openapi_text:\n"
        ".incbin \"" CONTRACT_OPENAPI "\"\n"
        ".globl contract_openapi_end\n"
        ".hidden contract_openapi_end\n"
        "contract_openapi_end:\n"
        ".byte 0\n"
        ".popsection\n");

extern const char contract_openapi_text[] __attribute__((visibility("hidden")));
extern const char contract_openapi_end[] __attribute__((visibility("hidden")));

struct str contract_openapi(void)
{
        return (struct str){ contract_openapi_text, (size_t)(contract_openapi_end - contract_openapi_text) };
}
