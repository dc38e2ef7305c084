#include "ops/stanza.h"

#include <fmt/format.h>

#include "core/log.h"
#include "ops/cluster_files.h"

namespace pgark {
namespace {

/// The server must be the one the data directory belongs to: a wrong port would tie the stanza to two clusters.
Result<> check_server(PgSession& session, const ClusterRecord& offered) {
  TRY_ASSIGN(const ServerInfo server, read_server_info(session));
  if (server.system_id == offered.system_identifier) return {};
  return Error(Errc::kInvalid, fmt::format("the data directory in pg1-path has system identifier {}, {} has {}",
                                           offered.system_identifier, session.describe(), server.system_id))
      .with_hint("check pg1-path, pg1-port and pg1-socket-path: they have to be of the same cluster");
}

Error of_another(Error error, const std::string& stanza, const ObjectStore& store) {
  return std::move(error).with_context(fmt::format("create stanza {} in {}", stanza, store.describe()));
}

/// Remove what lies below `prefix`, except below `spared`; only objects whose key ends in `suffix`.
struct Removal {
  std::string prefix;
  std::string spared;
  std::string suffix;
};

Result<> remove_objects(const Repository& repository, const Removal& removal, const CancelToken& cancel,
                        StanzaDeleteResult& result, uint64_t& count) {
  ObjectStore& store = repository.store();
  for (ListRequest request{.prefix = removal.prefix, .after = "", .limit = 1000};;) {
    TRY_ASSIGN(const ListPage page, store.list(request));
    std::vector<ObjectKey> keys;
    std::vector<uint64_t> bytes;
    for (const ObjectInfo& object : page.objects) {
      request.after = object.key.value;
      if (!removal.spared.empty() && object.key.value.starts_with(removal.spared)) continue;
      if (!object.key.value.ends_with(removal.suffix)) continue;
      keys.push_back(object.key);
      bytes.push_back(object.bytes);
    }
    TRY(cancel.check());
    std::vector<Result<bool>> removed = store.remove_many(keys);
    std::optional<Error> failure;
    for (size_t i = 0; i < keys.size(); ++i) {
      if (!removed[i].has_value() && !failure) failure = removed[i].error();
      if (!removed[i].value_or(false)) continue;
      log_detail("removed {}", keys[i].value);
      ++count;
      ++result.objects;
      result.bytes += bytes[i];
    }
    if (failure) return *failure;
    if (!page.more || page.objects.empty()) return {};
  }
}

}  // namespace

Result<StanzaCreateResult> stanza_create(ObjectStore& store, Clock& clock, PgSession* session,
                                         const StanzaCreateOptions& options) {
  TRY_ASSIGN(const ClusterFiles files, read_cluster_files(options.data_directory, clock));
  const ClusterRecord offered = cluster_record(files, clock.now());
  if (session != nullptr) TRY(check_server(*session, offered));

  TRY_ASSIGN(const auto repository, options.keys != nullptr ? Repository::open_or_create(store, clock, *options.keys)
                                                            : Repository::open_or_create(store, clock));
  // A second round compares with whoever was faster, or with what a write of unknown outcome left.
  for (int round = 1;; ++round) {
    TRY_ASSIGN(const auto records, list_clusters(*repository, options.stanza));
    if (!records.empty()) {
      if (auto same = check_same_cluster(options.stanza, records.back(), offered); !same) {
        return of_another(std::move(same).error(), options.stanza, store);
      }
      return StanzaCreateResult{records.back(), false};
    }
    auto written = write_cluster(*repository, options.stanza, offered);
    if (written) return StanzaCreateResult{offered, true};
    const Errc code = written.error().code();
    if ((code != Errc::kAlreadyExists && code != Errc::kOutcomeUnknown) || round == 3) {
      return of_another(std::move(written).error(), options.stanza, store);
    }
  }
}

Result<StanzaDeleteResult> stanza_delete(const Repository& repository, const std::string& stanza,
                                         const CancelToken& cancel) {
  StanzaDeleteResult result;
  const std::string all = stanza + "/";
  const std::string context = "delete stanza " + stanza;
  uint64_t others = 0;
  // What is listed goes first, so that an interrupted run leaves nothing that looks whole and is not.
  TRY_CTX(remove_objects(repository, {all + "backup/", "", "/manifest"}, cancel, result, result.backups), context);
  TRY_CTX(remove_objects(repository, {all + "dump/", "", "/manifest"}, cancel, result, result.dumps), context);
  TRY_CTX(remove_objects(repository, {all, all + "cluster/", ""}, cancel, result, others), context);
  TRY_CTX(remove_objects(repository, {all, "", ""}, cancel, result, others), context);
  if (result.objects == 0) {
    return Error(Errc::kNotFound, fmt::format("stanza {} does not exist in {}", stanza, repository.store().describe()))
        .with_hint("'pgark info' lists the stanzas there are");
  }
  return result;
}

}  // namespace pgark
