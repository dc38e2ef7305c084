// Which repository an extent is read from, and what is remembered of those that failed.
#include "ops/extent_source.h"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <set>
#include <utility>

#include "catalog/backup.h"
#include "core/log.h"
#include "core/thread_annotations.h"
#include "ops/restore_source.h"
#include "repo/block_hashes.h"
#include "repo/frame_view.h"
#include "repo/manifest.h"

namespace pgark {
namespace {

/// Damage of one object, or its absence, which the manifest proves to be damage: others may be had all the same.
bool is_of_object(const Error& error) { return error.code() == Errc::kCorrupt || error.code() == Errc::kNotFound; }

/// Not the repository's doing: nothing is gained by asking another.
bool is_final(const Error& error) { return error.code() == Errc::kCancelled; }

/// Whether both were written by one backup. Not compared: annotations, which are added later, and the version that
/// reads them.
bool is_same_backup(const BackupMeta& a, const BackupMeta& b) {
  const auto facts = [](const BackupMeta& m) {
    return std::tuple(m.label, m.type, m.prior_label, m.cluster_number, m.system_identifier, m.started, m.stopped,
                      m.start_lsn.bytes, m.stop_lsn.bytes, m.wal_start, m.wal_stop, m.logical_bytes, m.stored_bytes,
                      m.referenced_bytes, m.extent_count, m.file_count);
  };
  return facts(a) == facts(b);
}

}  // namespace

struct ExtentSource::State {
  /// What is known of one repository.
  struct Member {
    const Repository* repository = nullptr;  // Once it has been opened and found to hold the backup.
    std::optional<Error> refused;            // It does not hold this backup, and never will.
    bool gone = false;                       // It failed as a whole: asked only when nobody else can answer.
    std::set<uint32_t> absent_packs;
    std::set<uint32_t> damaged_packs;  // Told already.
    std::set<uint32_t> damaged_lists;
    std::unique_ptr<BlockHashes> hashes;
    SourceReport report;
  };

  State(std::span<const RepositorySource> repositories, const std::string& name, const RestorePlan& what)
      : sources(repositories), stanza(name), plan(what), members(repositories.size()) {
    for (size_t i = 0; i < members.size(); ++i) members[i].report.name = sources[i].name;
  }

  /// In which order the repositories are asked for a pack.
  std::vector<size_t> order(uint32_t pack) EXCLUDES(mu) {
    const MutexLock lock(mu);
    std::vector<size_t> all;
    for (size_t i = 0; i < members.size(); ++i)
      if (!members[i].refused) all.push_back(i);
    const auto rank = [&](size_t i) REQUIRES(mu) {
      return std::tuple(members[i].gone, members[i].absent_packs.contains(pack), i != current);
    };
    std::stable_sort(all.begin(), all.end(), [&](size_t a, size_t b) REQUIRES(mu) { return rank(a) < rank(b); });
    return all;
  }

  /// The repository, opened and found to hold the backup.
  Result<const Repository*> usable(size_t index) EXCLUDES(opening) {
    {
      const MutexLock lock(mu);
      if (members[index].repository != nullptr) return members[index].repository;
    }
    // One at a time, and nobody who reads from another one waits for it.
    const MutexLock one(opening);
    {
      const MutexLock lock(mu);
      if (members[index].repository != nullptr) return members[index].repository;
    }
    auto opened = open(index);
    const MutexLock lock(mu);
    if (!opened.has_value()) {
      if (opened.error().code() == Errc::kInvalid || is_of_object(opened.error()))
        members[index].refused = opened.error();
      return opened;
    }
    log_info("{} holds backup {} too", sources[index].name, plan.backup.label);
    members[index].repository = *opened;
    return opened;
  }

  Result<const Repository*> open(size_t index) const {
    TRY_ASSIGN(const Repository* repository, sources[index].open());
    TRY(repository->check_can_open_data("read extents of backup " + plan.backup.label));
    TRY_ASSIGN(const BackupMeta backup, read_backup(*repository, stanza, plan.backup.label));
    TRY_ASSIGN(const ManifestReader manifest, ManifestReader::open(*repository, stanza, plan.backup.label));
    TRY_ASSIGN(const std::vector<PackName> packs, manifest.packs());
    if (!is_same_backup(backup, plan.backup) || packs != plan.packs)
      return Error(Errc::kInvalid, fmt::format("its backup {} is another one of the same name", plan.backup.label));
    return repository;
  }

  /// Remember a failure, tell it once, and stay with the next repository if this one is gone.
  void note(size_t index, uint32_t pack, const Error& error, bool of_list = false) EXCLUDES(mu) {
    if (sources.size() == 1) return;
    const MutexLock lock(mu);
    Member& member = members[index];
    std::string object;
    if (is_of_object(error) && member.repository != nullptr) {
      if (error.code() == Errc::kNotFound) member.absent_packs.insert(pack);
      if (of_list) member.damaged_lists.insert(pack);
      if (!member.damaged_packs.insert(pack).second) return;
      object = pack_key(stanza, plan.packs[pack].label, plan.packs[pack].number).value;
    } else {
      if (std::exchange(member.gone, true)) return;
      for (size_t i = 0; i < members.size() && index == current; ++i)
        if (!members[i].gone && !members[i].refused) current = i;
    }
    log_warn("{}{}{}: {}; trying the other repositories", member.report.name, object.empty() ? "" : ": ", object,
             error.message());
    if (member.report.failure_count++ < kSourceFailuresMax) member.report.failures.push_back({object, error});
  }

  void count(size_t index, uint64_t bytes, bool alone) EXCLUDES(mu) {
    fetched += bytes;
    const MutexLock lock(mu);
    members[index].report.fetched_bytes += bytes;
    if (alone) ++members[index].report.extent_count;
  }

  /// Ask repository after repository, until one answers.
  template <typename Ask>
  Result<size_t> ask(uint32_t pack, std::optional<std::pair<size_t, Error>> known, bool of_list, const Ask& one) {
    std::vector<std::pair<std::string, Error>> errors;
    const std::optional<size_t> skip = known ? std::optional(known->first) : std::nullopt;
    if (known) {
      note(known->first, pack, known->second, of_list);
      errors.emplace_back(sources[known->first].name, std::move(known->second));
    }
    for (const size_t index : order(pack)) {
      if (index == skip) continue;
      auto repository = usable(index);
      Result<> answered = repository ? one(index, **repository) : Result<>(std::move(repository).error());
      if (answered.has_value()) return index;
      if (is_final(answered.error())) return std::move(answered).error();
      note(index, pack, answered.error(), of_list);
      errors.emplace_back(sources[index].name, std::move(answered).error());
    }
    {
      const MutexLock lock(mu);
      for (const Member& member : members)
        if (member.refused && std::none_of(errors.begin(), errors.end(),
                                           [&](const auto& each) { return each.first == member.report.name; }))
          errors.emplace_back(member.report.name, *member.refused);
    }
    return join_source_errors(std::move(errors));
  }

  const std::span<const RepositorySource> sources;
  const std::string& stanza;
  const RestorePlan& plan;
  const Repository* first = nullptr;
  std::atomic<uint64_t> fetched = 0;
  Mutex opening;
  Mutex mu;
  size_t current GUARDED_BY(mu) = 0;
  std::vector<Member> members GUARDED_BY(mu);
};

ExtentSource::ExtentSource(std::span<const RepositorySource> sources, size_t first, const Repository& repository,
                           const std::string& stanza, const RestorePlan& plan)
    : state_(std::make_unique<State>(sources, stanza, plan)) {
  state_->first = &repository;
  const MutexLock lock(state_->mu);
  state_->current = first;
  state_->members[first].repository = &repository;
}
ExtentSource::~ExtentSource() = default;

bool ExtentSource::single() const { return state_->sources.size() == 1; }

const Repository& ExtentSource::first() const { return *state_->first; }

ObjectKey ExtentSource::key_of(uint32_t pack) const {
  const PackName& name = state_->plan.packs[pack];
  return pack_key(state_->stanza, name.label, name.number);
}

Result<size_t> ExtentSource::read(uint32_t pack, uint64_t offset, MutableBytes into) {
  const ObjectKey key = key_of(pack);
  TRY_ASSIGN(const size_t from, state_->ask(pack, std::nullopt, false, [&](size_t, const Repository& repository) {
    return repository.store().read_exact(key, offset, into);
  }));
  state_->count(from, into.size(), false);
  return from;
}

Result<Bytes> ExtentSource::decode(size_t from, const ObjectKey& key, const ExtentRef& extent, Bytes stored,
                                   Decompressor& decompressor, MutableBytes raw) const {
  const Repository* repository = nullptr;
  {
    const MutexLock lock(state_->mu);
    repository = state_->members[from].repository;
  }
  return view_frame(*repository, key, extent.frame(), stored, decompressor, raw);
}

Result<> ExtentSource::fetch_one(const ExtentRef& extent, std::optional<std::pair<size_t, Error>> known, Buffer& stored,
                                 Decompressor& decompressor, MutableBytes raw) {
  const ObjectKey key = key_of(extent.pack);
  stored.resize(extent.stored_bytes);
  const auto one = [&](size_t, const Repository& repository) -> Result<> {
    TRY(repository.store().read_exact(key, extent.offset, stored.bytes()));
    return decode_frame(repository, key, extent.frame(), stored.bytes(), decompressor, raw);
  };
  TRY_ASSIGN(const size_t from, state_->ask(extent.pack, std::move(known), false, one));
  state_->count(from, extent.stored_bytes, true);
  return {};
}

Result<> ExtentSource::block_hashes(const ExtentRef& extent, std::vector<uint64_t>& hashes) {
  if (extent.pack >= state_->plan.packs.size())
    return Error(Errc::kCorrupt, "the manifest names a pack it does not list");
  const auto one = [&](size_t index, const Repository& repository) -> Result<> {
    BlockHashes* lists = nullptr;
    {
      const MutexLock lock(state_->mu);
      auto& member = state_->members[index];
      if (state_->sources.size() > 1 && member.damaged_lists.contains(extent.pack))
        return Error(Errc::kCorrupt, fmt::format("the list of pack {} is damaged", key_of(extent.pack).value));
      if (!member.hashes) member.hashes = std::make_unique<BlockHashes>(repository, state_->stanza, state_->plan.packs);
      lists = member.hashes.get();
    }
    return lists->of(extent, hashes);
  };
  TRY(state_->ask(extent.pack, std::nullopt, true, one));
  return {};
}

uint64_t ExtentSource::fetched_bytes() const { return state_->fetched; }

std::vector<SourceReport> ExtentSource::reports() const {
  const MutexLock lock(state_->mu);
  std::vector<SourceReport> reports;
  for (const auto& member : state_->members)
    if (member.report.fetched_bytes > 0 || member.report.failure_count > 0) reports.push_back(member.report);
  return reports;
}

}  // namespace pgark
