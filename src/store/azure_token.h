// Bearer tokens for Azure Blob Storage.
#pragma once

#include <memory>

#include "store/bearer_token.h"
#include "store/cloud_settings.h"
#include "store/environment.h"

namespace pgark {

/// Tokens of the machine's managed identity: by workload identity federation, where AZURE_FEDERATED_TOKEN_FILE,
/// AZURE_TENANT_ID and AZURE_CLIENT_ID are set (Kubernetes); by IDENTITY_ENDPOINT and IDENTITY_HEADER (App Service,
/// Container Apps); else by the metadata service of the virtual machine. AZURE_CLIENT_ID chooses one of several
/// identities.
/// Errors: kInvalid for variables that contradict each other. Nothing is asked yet.
Result<std::unique_ptr<BearerTokenSource>> make_azure_token_source(const CloudSettings& cloud,
                                                                   const Environment& env = process_environment());

}  // namespace pgark
