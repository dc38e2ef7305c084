#include "ops/archive_push.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <nlohmann/json.hpp>
#include <utility>

#include "catalog/wal.h"
#include "codec/hash.h"
#include "core/file.h"
#include "core/log.h"
#include "ops/archive_file.h"
#include "ops/archive_index.h"
#include "ops/cluster_files.h"
#include "ops/push_drops.h"
#include "ops/push_ready.h"
#include "pipe/task_group.h"
#include "repo/stored_file.h"

namespace pgark {
namespace {

/// How often the state of the repository may change under a push before it gives up; PostgreSQL tries again.
constexpr int kRoundsMax = 5;
/// How long after it was opened a stanza is believed to be where it was.
constexpr std::chrono::seconds kStanzaTrust{1};
constexpr size_t kDirectoriesMax = 16;  // Fewer than a store of directories remembers.

/// Of the repository, in which a file comes to lie.
Result<std::string> wal_directory_of(const PushSource& source, const std::string& stanza, unsigned cluster_number) {
  TRY_ASSIGN(const ObjectKey key, wal_key(stanza, cluster_number, source.name));
  return parent_path(key.value);
}

/// Histories do not say which cluster they are of: ask the data directory they come from.
Result<> check_origin(const PushSource& source, const ClusterRecord& cluster, const ArchivePushOptions& options,
                      Clock& clock) {
  const bool names_itself = source.is_segment() || std::holds_alternative<pg::WalPartialName>(source.parsed);
  if (names_itself || options.data_directory.empty()) return {};
  TRY_ASSIGN(const ClusterFiles files, read_cluster_files(options.data_directory, clock));
  return check_same_cluster(options.stanza, cluster, cluster_record(files, Timestamp{}));
}

Result<> check_source(const PushSource& source, const ClusterRecord& cluster, const ArchivePushOptions& options,
                      Clock& clock) {
  TRY(check_origin(source, cluster, options, clock));
  auto checked = check_archive_file(source.parsed, source.content, cluster);
  if (checked) return {};
  Error error = std::move(checked).error();
  if (error.code() == Errc::kInvalid) {
    error = std::move(error).with_hint(
        fmt::format("stanza {} belongs to the PostgreSQL {} cluster with system identifier {}: check --stanza in "
                    "archive_command; a cluster created anew or upgraded needs a new stanza",
                    options.stanza, cluster.pg_major, cluster.system_identifier));
  } else {
    error = std::move(error).with_hint("the file in pg_wal is damaged: check the disk and the server's log");
  }
  return error;
}

std::string describe_source(const PushSource& source, Bytes content, const ClusterRecord& cluster,
                            const ArchivePushOptions& options, Clock& clock) {
  nlohmann::json document{{"name", source.name},
                          {"system_identifier", std::to_string(cluster.system_identifier)},
                          {"pg_major", cluster.pg_major},
                          {"raw_bytes", content.size()},
                          {"raw_hash", fmt::format("{:016x}", content_hash(content))},
                          {"pushed_us", clock.now().time_since_epoch().count()},
                          {"host", options.host}};
  if (const auto* name = std::get_if<pg::WalSegmentName>(&source.parsed)) {
    const auto segment = pg::parse_segment_name(name->text(), cluster.wal_segment_bytes);
    const uint64_t valid = segment ? valid_wal_bytes(content, *segment) : 0;
    if (valid < content.size()) {
      // Not refused: a standby with archive_mode=always hands over the segment its upstream's timeline ended in.
      log_warn("segment {} holds WAL up to byte {} only: what follows is left over from before", source.name, valid);
      document["valid_bytes"] = valid;
    }
  }
  // Bytes that are not UTF-8 can only be in the host's name.
  return document.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

class Pusher {
 public:
  Pusher(const Repository& repository, const ArchivePushOptions& options, const ClusterRecord& cluster, Clock& clock,
         const PushSource& source, const PushSteps& steps)
      : repository_(repository), options_(options), cluster_(cluster), clock_(clock), source_(source), steps_(steps) {}

  /// Write, look if the name is taken, then act; again while others or the store's uncertainty change it.
  Result<ArchivePushResult> run() {
    for (int round = 1;; ++round) {
      auto done = attempt();
      if (done) return done;
      const Errc code = done.error().code();
      if ((code != Errc::kAlreadyExists && code != Errc::kOutcomeUnknown && code != Errc::kNotFound) ||
          round == kRoundsMax) {
        return done;
      }
      log_debug("{}: look again", done.error().message());
    }
  }

 private:
  /// A new segment costs one write: only a name that is taken is a reason to read and list. Whoever removes copies of a
  /// file removes the first one last, so a free name means that there is no copy at all.
  /// Errors: kAlreadyExists, kOutcomeUnknown, kNotFound if the repository changed meanwhile.
  Result<ArchivePushResult> attempt() {
    TRY_ASSIGN(const ObjectKey first, wal_key(options_.stanza, cluster_.number, source_.name));
    auto written = write(first);
    if (written) return stored(ArchivePushOutcome::kStored, first, written->bytes);
    if (written.error().code() != Errc::kAlreadyExists) return Error(std::move(written).error());
    // Taken, and durable: the store says so only of what is.
    TRY_ASSIGN(const Verdict verdict, compare(first));
    if (verdict == Verdict::kSame) return stored(ArchivePushOutcome::kAlreadyThere, first, 0);
    return push_beside_damaged(first);
  }

  Result<ArchivePushResult> push_beside_damaged(const ObjectKey& first) {
    TRY_ASSIGN(const auto copies, find_wal_copies(repository_, options_.stanza, cluster_.number, source_.name));
    for (const ObjectKey& key : copies) {
      if (key == first) continue;
      TRY_ASSIGN(const Verdict verdict, compare(key));
      if (verdict == Verdict::kSame) return acknowledge(key);
    }
    TRY_ASSIGN(const ObjectKey key, free_key(copies));
    TRY_ASSIGN(const ObjectInfo written, write(key));
    log_warn("stored {} again as {}: every earlier copy is damaged", source_.name, key.value);
    return stored(ArchivePushOutcome::kRepaired, key, written.bytes);
  }

  ArchivePushResult stored(ArchivePushOutcome outcome, const ObjectKey& key, uint64_t bytes) const {
    return {outcome, key, source_.identity.bytes, bytes};
  }

  Result<ObjectInfo> write(const ObjectKey& key) {
    TRY_ASSIGN(ContainerWriter writer, begin_stored_file(repository_, key));
    call_once(begun_, steps_.before_work);
    TRY_ASSIGN(const Bytes raw, content());
    describe(raw);
    TRY(fill_stored_file(writer, raw, *document_, options_.codec, options_.level, options_.threads, index_));
    call_once(ended_, steps_.after_work);
    return std::move(writer).commit();
  }

  static void call_once(bool& called, const std::function<void()>& step) {
    if (!std::exchange(called, true) && step) step();
  }

  /// What the source held when it was checked. Errors: kTransient if the file is not that one any more.
  Result<Bytes> content() {
    if (!again_ && (source_.identity.bytes == 0 || !source_.content.empty())) return Bytes(source_.content);
    if (!again_) {
      TRY_ASSIGN(PushSource read, read_push_source(source_.path));
      if (read.identity != source_.identity)
        return Error(Errc::kTransient, fmt::format("'{}' changed while it was pushed", source_.path));
      again_ = std::move(read);
    }
    return Bytes(again_->content);
  }

  /// Work, and warnings, that only one who writes or compares needs.
  void describe(Bytes raw) {
    if (document_) return;
    document_ = describe_source(source_, raw, cluster_, options_, clock_);
    index_ = index_to_store(source_.parsed, raw, cluster_);
  }

  enum class Verdict : uint8_t { kSame, kDamaged };
  /// Errors: kInvalid if the copy is good and holds other bytes.
  Result<Verdict> compare(const ObjectKey& key) {
    if (!repository_.can_open_data() && is_data_frame(FrameType::kWalData, key)) return compare_by_hash(key);
    auto copy = read_stored_file(repository_, key);
    if (!copy && copy.error().code() == Errc::kCorrupt) {
      log_warn("a stored copy is damaged: {}", copy.error().message());
      return Verdict::kDamaged;
    }
    if (!copy) return Error(std::move(copy).error()).with_context("compare with " + key.value);
    TRY_ASSIGN(const Bytes own, content());
    const Bytes raw = copy->raw;
    const bool same = raw.size() == own.size() && (raw.empty() || std::memcmp(raw.data(), own.data(), raw.size()) == 0);
    if (same) return Verdict::kSame;
    return different(key, own, raw);
  }

  /// Of a copy this host may not read: what its document says of the content.
  Result<Verdict> compare_by_hash(const ObjectKey& key) {
    auto text = read_stored_document(repository_, key);
    if (!text && text.error().code() == Errc::kCorrupt) {
      log_warn("a stored copy is damaged: {}", text.error().message());
      return Verdict::kDamaged;
    }
    if (!text) return Error(std::move(text).error()).with_context("compare with " + key.value);
    const auto stored = nlohmann::json::parse(*text, nullptr, /*allow_exceptions=*/false);
    TRY_ASSIGN(const Bytes raw, content());
    describe(raw);
    const auto own = nlohmann::json::parse(*document_, nullptr, /*allow_exceptions=*/false);
    for (const char* member : {"raw_bytes", "raw_hash"})
      if (!stored.is_object() || stored.value(member, nlohmann::json()) != own.value(member, nlohmann::json()))
        return different(key, raw, {});
    return Verdict::kSame;
  }

  /// The copy is seen, but its writer may have died before it was durable; the store answers kAlreadyExists only when
  /// it is. Should the copy be gone by now, this writes it.
  Result<ArchivePushResult> acknowledge(const ObjectKey& key) {
    auto written = write(key);
    if (written) return stored(ArchivePushOutcome::kStored, key, written->bytes);
    if (written.error().code() != Errc::kAlreadyExists) return Error(std::move(written).error());
    return stored(ArchivePushOutcome::kAlreadyThere, key, 0);
  }

  Result<ObjectKey> free_key(const std::vector<ObjectKey>& copies) const {
    for (auto generation = static_cast<unsigned>(copies.size());; ++generation) {
      TRY_ASSIGN(ObjectKey key, wal_key(options_.stanza, cluster_.number, source_.name, generation));
      if (std::find(copies.begin(), copies.end(), key) == copies.end()) return key;
    }
  }

  Error different(const ObjectKey& key, Bytes own, Bytes other) const {
    const std::string where = repository_.store().describe();
    if (source_.is_history()) {
      return forked_timeline(source_.timeline(), own, other, options_.stanza, where);
    }
    return Error(Errc::kInvalid,
                 fmt::format("'{}' differs from {} in {}, which stays as it is", source_.path, key.value, where))
        .with_hint(
            fmt::format("two clusters may archive to stanza {}: a copy or a restored cluster of the original needs "
                        "a stanza of its own, or archive_mode=off",
                        options_.stanza))
        .with_hint(fmt::format("compare with 'pgark repo-get {}'", key.value));
  }

  const Repository& repository_;
  const ArchivePushOptions& options_;
  const ClusterRecord& cluster_;
  Clock& clock_;
  const PushSource& source_;
  const PushSteps& steps_;
  bool begun_ = false;  // Which of the steps were called.
  bool ended_ = false;
  std::optional<PushSource> again_;  // The source, if its content is needed after it was taken away.
  std::optional<std::string> document_;
  std::vector<std::byte> index_;
};

std::string context_of(const std::string& path) { return "push " + path.substr(path.rfind('/') + 1); }

/// Open the target, push, and tell it of what was given up before.
Result<ArchivePushResult> push_to(const PushTarget& target, Clock& clock, const ArchivePushOptions& options,
                                  const PushSource& source, const PushQueueLimit& limit) {
  TRY_ASSIGN(const PushTarget::Opened opened, target.open());
  TRY_ASSIGN(const auto pusher, StanzaPusher::open(*opened.repository, clock, options));
  TRY_ASSIGN(ArchivePushResult result, pusher->push(source));
  if (!limit.spool_directory.empty()) {
    const ClusterRecord& cluster = pusher->cluster();
    const auto carried =
        DropNotes(limit.spool_directory)
            .carry_over(target.name, *opened.repository, options.stanza, cluster.number, cluster.wal_segment_bytes);
    // The segment is stored all the same; the next push tries again.
    if (!carried) log_warn("tell {} of WAL that was given up: {}", target.name, carried.error().message());
  }
  return result;
}

}  // namespace

Result<std::unique_ptr<StanzaPusher>> StanzaPusher::open(const Repository& repository, Clock& clock,
                                                         ArchivePushOptions options) {
  TRY_ASSIGN(const ClusterRecord cluster, current_cluster(repository, options.stanza));
  Buffer record;
  if (repository.store().caps().kind == "posix") {
    TRY_ASSIGN(record, repository.store().get(cluster_key(options.stanza, cluster.number)));
  }
  return std::unique_ptr<StanzaPusher>(
      new StanzaPusher(repository, clock, std::move(options), cluster, std::move(record)));
}

Result<> StanzaPusher::check_still_there(const PushSource& source) {
  if (record_.empty()) return {};
  const ObjectKey key = cluster_key(options_.stanza, cluster_.number);
  // Costs no call that names a file: objects that were read lately are open.
  auto record = repository_.store().get(key);
  if (!record && record.error().code() != Errc::kNotFound) return Error(std::move(record).error());
  bool found = record.has_value();
  if (found && clock_.steady() - opened_at_ >= kStanzaTrust) {
    // An open file may have been moved away with all of the stanza. Where files were pushed before, the store notices.
    TRY_ASSIGN(const std::string directory, wal_directory_of(source, options_.stanza, cluster_.number));
    MutexLock lock(mu_);
    const bool is_known = directories_.contains(directory);
    lock.unlock();
    if (!is_known) {
      TRY_ASSIGN(const auto info, repository_.store().stat(key));
      found = info.has_value();
    }
  }
  if (found && std::ranges::equal(record->bytes(), record_.bytes())) return {};
  // Whoever opens the repository anew learns more.
  return Error(Errc::kTransient, fmt::format("stanza {} in {} is {}", options_.stanza, repository_.store().describe(),
                                             found ? "not the one it was" : "gone"))
      .with_hint("was it removed, or made anew, while WAL was archived to it? It is looked at again now");
}

void StanzaPusher::note_pushed(const PushSource& source) {
  const auto directory = wal_directory_of(source, options_.stanza, cluster_.number);
  if (record_.empty() || !directory) return;
  MutexLock lock(mu_);
  if (directories_.size() >= kDirectoriesMax) directories_.clear();
  directories_.insert(*directory);
}

Result<ArchivePushResult> StanzaPusher::push(const PushSource& source, const PushSteps& steps) {
  TRY(check_still_there(source));
  if (!source.is_history()) {
    TRY_ASSIGN(const auto verdict, forks_.check(source.timeline(), source.directory()));
    if (verdict == ForkGuard::Verdict::kAbsent) {
      const std::string name = pg::history_name(source.timeline());
      TRY_ASSIGN_CTX(const PushSource history, read_push_source(source.directory() + "/" + name), "push " + name);
      TRY_CTX(store(history, {}), "push " + name);
    }
  }
  return store(source, steps);
}

Result<ArchivePushResult> StanzaPusher::store(const PushSource& source, const PushSteps& steps) {
  TRY(check_source(source, cluster_, options_, clock_));
  auto pushed = Pusher(repository_, options_, cluster_, clock_, source, steps).run();
  if (pushed) note_pushed(source);
  return pushed;
}

Result<ArchivePushResult> archive_push(const Repository& repository, Clock& clock, const ArchivePushOptions& options) {
  const std::string context = context_of(options.source_path);
  TRY_ASSIGN_CTX(const PushSource source, read_push_source(options.source_path), context);
  TRY_ASSIGN_CTX(const auto pusher, StanzaPusher::open(repository, clock, options), context);
  auto result = pusher->push(source);
  if (!result) return Error(std::move(result).error()).with_context(context);
  return result;
}

Error join_push_errors(std::vector<Error> errors, size_t target_count) {
  Error joined = std::move(errors.front());
  for (size_t i = 1; i < errors.size(); ++i) {
    std::string message = fmt::format("{}; {}", joined.message(), errors[i].message());
    Error next(joined.code(), std::move(message));
    for (const std::string& hint : joined.hints()) next = std::move(next).with_hint(hint);
    for (const std::string& hint : errors[i].hints()) {
      const bool known = std::find(joined.hints().begin(), joined.hints().end(), hint) != joined.hints().end();
      if (!known) next = std::move(next).with_hint(hint);
    }
    joined = std::move(next);
  }
  if (errors.size() == target_count) return joined;
  return std::move(joined).with_hint(fmt::format("{} of {} repositories have it; the server keeps it until all have",
                                                 target_count - errors.size(), target_count));
}

Result<bool> drop_under_limit(const PushQueueLimit& limit, const std::string& source_path, const std::string& host,
                              const std::vector<std::string>& waiting, Clock& clock) {
  if (!limit.queue_bytes_max) return false;
  const std::string name = source_path.substr(source_path.rfind('/') + 1);
  const auto parsed = pg::parse_wal_file_name(name);
  if (!parsed || !std::holds_alternative<pg::WalSegmentName>(*parsed)) return false;
  TRY_ASSIGN(const FileIdentity file, file_identity(source_path));
  TRY_ASSIGN_CTX(const ReadyFiles ready, list_ready_files(parent_path(source_path)), "measure the archive queue");
  const uint64_t queue_bytes = ready.segment_count * file.bytes;
  if (queue_bytes <= *limit.queue_bytes_max) return false;
  TRY_CTX(DropNotes(limit.spool_directory)
              .add({.segment = name,
                    .time = clock.now(),
                    .host = host,
                    .queue_bytes = queue_bytes,
                    .limit_bytes = *limit.queue_bytes_max,
                    .waiting = waiting}),
          "give up " + name);
  log_warn(
      "{} is given up and not stored: {} bytes wait in pg_wal, more than archive-push-queue-max ({}); recovery "
      "cannot go past it until a new backup is made",
      name, queue_bytes, *limit.queue_bytes_max);
  return true;
}

Result<ArchivePushAllResult> archive_push_all(const std::vector<PushTarget>& targets, Clock& clock,
                                              const ArchivePushOptions& options, const PushQueueLimit& limit) {
  const std::string context = context_of(options.source_path);
  std::vector<std::string> names;
  for (const PushTarget& target : targets) names.push_back(target.name);
  TRY_ASSIGN_CTX(const bool dropped, drop_under_limit(limit, options.source_path, options.host, names, clock), context);
  if (dropped) return ArchivePushAllResult{.stored = {}, .dropped = true};
  TRY_ASSIGN_CTX(const PushSource source, read_push_source(options.source_path), context);

  std::vector<std::optional<Result<ArchivePushResult>>> results(targets.size());
  TaskGroup group;
  const auto push_one = [&](size_t i) -> Result<> {
    results[i] = push_to(targets[i], clock, options, source, limit);
    return {};  // A failure of one keeps nothing from the others.
  };
  for (size_t i = 1; i < targets.size(); ++i) group.spawn([&, i] { return push_one(i); });
  TRY(push_one(0));
  TRY_CTX(group.wait(), context);

  ArchivePushAllResult all;
  std::vector<Error> errors;
  for (size_t i = 0; i < targets.size(); ++i) {
    Result<ArchivePushResult>& result = *results[i];
    if (result) {
      all.stored.push_back(std::move(*result));
    } else {
      Error error = std::move(result).error();
      errors.push_back(targets.size() > 1 ? std::move(error).with_context(targets[i].name) : std::move(error));
    }
  }
  if (errors.empty()) return all;
  return join_push_errors(std::move(errors), targets.size()).with_context(context);
}

}  // namespace pgark
