// `scale requests`: what each command asks of S3. A small cluster goes through the commands several times, each time
// with more of one thing: data, WAL, backups. What a command asks for each pack, segment and backup follows from the
// differences, and from that what it asks at any size.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <functional>
#include <set>

#include "catalog/cluster.h"
#include "ops/archive_get.h"
#include "ops/archive_push.h"
#include "ops/backup.h"
#include "ops/check.h"
#include "ops/expire.h"
#include "ops/info.h"
#include "ops/push_source.h"
#include "ops/restore.h"
#include "ops/verify.h"
#include "scale.h"
#include "store/memory_store.h"
#include "testing/forwarding_store.h"
#include "testing/sample_cluster.h"
#include "testing/wal_builder.h"

namespace pgark::scale {
namespace {

using testing::SampleCluster;
using testing::ScriptedServer;
using testing::StepClock;

const std::string kStanza = "main";
constexpr uint32_t kSegment = SampleCluster::kSegmentBytes;

/// How much of each thing there is.
struct Size {
  uint64_t mib = 192;
  uint64_t segments = 16;  // Of WAL from one backup to the next.
  uint64_t incrementals = 1;
};

/// Requests by command, kind of object and name of the request.
using Requests = std::map<std::string, std::map<std::string, std::map<std::string, double>>>;

/// One cluster and its repository on their way through the commands.
class Course {
 public:
  explicit Course(const Size& size) : size_(size) {
    repository_ = must(Repository::open_or_create(store_, clock_), "make repository");
    must(write_cluster(*repository_, kStanza,
                       {.number = 1,
                        .system_identifier = SampleCluster::kSystemId,
                        .pg_major = 15,
                        .control_version = 1300,
                        .catalog_version = SampleCluster::kCatalog,
                        .wal_segment_bytes = kSegment,
                        .created = {}}),
         "write cluster");
    fill();
  }

  Requests run() {
    push(true);  // Segment 1.
    full_packs = back_up(BackupType::kFull, "backup --type=full");
    for (uint64_t i = 0; i < size_.incrementals; ++i) {
      for (uint64_t n = 0; n < size_.segments; ++n) push(n % 2 == 0);
      touch(i);
      back_up(BackupType::kIncr, "backup --type=incr");
    }
    for (uint64_t n = 0; n < size_.segments; ++n) push(n % 2 == 0);
    count("info", [&] { must(stanza_info(*open(), kStanza, {.now = clock_.now(), .rules = rules()}), "info"); });
    check();
    verify();
    restore();
    archive_get_all();
    back_up(BackupType::kFull, "");
    clock_.sleep_for(std::chrono::hours(1));
    expire("expire, nothing goes", 2);
    expire("expire, one full goes", 1);
    clock_.sleep_for(std::chrono::hours(25));
    expire("expire, its packs and WAL go", 1);
    return counts_;
  }

  uint64_t full_packs = 0;

 private:
  /// The clock of the server's answers is another one: everything happens after that.
  static RetentionRules rules(uint32_t full = 2) {
    RetentionRules rules;
    rules.full = full;
    rules.time_zone = "UTC";
    return rules;
  }

  /// Files of 16 MiB that do not compress, and 400 small ones.
  void fill() {
    for (uint64_t file = 0; file * 16 < size_.mib; ++file) {
      std::string content;
      for (uint32_t block = 0; block < (16u << 20) / 8192; ++block) content += page(block, file);
      cluster_.put(fmt::format("base/1/{}", 20000 + file), content);
    }
    for (uint64_t file = 0; file < 400; ++file) cluster_.put(fmt::format("base/1/{}", 30000 + file), page(0, file));
  }
  static std::string page(uint32_t block, uint64_t seed) {
    std::string page = testing::sample_page(block, {0x500}, 'a');
    uint64_t random = scatter(seed << 32 | block);
    for (size_t at = 32; at < page.size(); at += 8) testing::put_le(page, at, random = scatter(random));
    testing::put_le<uint16_t>(page, 8, 0);
    testing::put_le<uint16_t>(page, 8, pg::page_checksum(as_bytes(page), block));
    return page;
  }
  /// Change what is no relation, so that an incremental has something to store.
  void touch(uint64_t round) { cluster_.put("pg_xact/0000", std::string(8192, static_cast<char>('a' + round))); }

  /// A repository opened anew, as each command does.
  std::unique_ptr<Repository> open() { return must(Repository::open(store_), "open repository"); }

  /// Count what `work` asks of the store, without what is counted within it.
  void count(const std::string& command, const std::function<void()>& work) {
    if (!counting_.empty()) add_counts(counting_.back(), store_.take());
    store_.take();
    counting_.emplace_back();
    work();
    CallCounts counts = std::move(counting_.back());
    counting_.pop_back();
    add_counts(counts, store_.take());
    // A backup's packs are committed beside its work: those that came to their end just now are the backup's all the
    // same.
    if (!counting_.empty() && counts.contains("pack"))
      add_counts(counting_.back(), {{"pack", counts.extract("pack").mapped()}});
    if (command.empty()) return;
    for (const auto& [kind, calls] : counts) {
      const Json requests = requests_by_name({{kind, calls}});
      for (const auto& [name, number] : requests.items())
        counts_[command][kind][name] += static_cast<double>(number.get<uint64_t>());
    }
    ++runs_[command];
  }

  static void add_counts(CallCounts& sum, const CallCounts& more) {
    for (const auto& [kind, calls] : more)
      for (size_t i = 0; i < kCallCount; ++i) {
        sum[kind][i].calls += calls[i].calls;
        sum[kind][i].requests += calls[i].requests;
        sum[kind][i].bytes += calls[i].bytes;
      }
  }

  // -- WAL.

  void push(bool by_worker) {
    write_segment();
    archive(by_worker);
  }

  /// Write the next segment into pg_wal.
  void write_segment() {
    const uint64_t number = ++last_segment_;
    wal_ = testing::WalBuilder(wal_options(number, wal_.prev()));  // Of one segment: all of them are too much to keep.
    wal_.add_bytes(200);
    testing::SampleRecord commit{.rmgr = pg::wal_rmgr::kTransaction};
    commit.xid = Xid{static_cast<uint32_t>(1000 + number)};
    commit.main_data.resize(8);
    const int64_t since_2000 =
        (clock_.now() + std::chrono::seconds(number) - Timestamp(std::chrono::seconds(946684800))).count();
    std::memcpy(commit.main_data.data(), &since_2000, sizeof since_2000);
    wal_.add(commit);
    wal_.add_switch();
    const std::string name = pg::segment_name({TimelineId{1}, number}, kSegment);
    cluster_.put("pg_wal/" + name, as_text(wal_.bytes()));
  }
  static testing::WalBuilderOptions wal_options(uint64_t number, Lsn prev) {
    return {.major = pg::PgMajor{15},
            .segment_bytes = kSegment,
            .system_id = SampleCluster::kSystemId,
            .timeline = TimelineId{1},
            .start = Lsn{number * kSegment},
            .prev = prev};
  }

  /// Archive the last one: by a worker that stays, or by a command of its own.
  void archive(bool by_worker) {
    const std::string path = cluster_.at("pg_wal/" + pg::segment_name({TimelineId{1}, last_segment_}, kSegment));
    const ArchivePushOptions options{
        .stanza = kStanza, .source_path = path, .data_directory = cluster_.data(), .host = "db1"};
    if (!by_worker)
      count("archive-push, one segment", [&] { must(archive_push(*open(), clock_, options), "push segment"); });
    else
      push_by_worker(path, options);
    if (last_segment_ > 4)
      std::filesystem::remove(cluster_.at("pg_wal/" + pg::segment_name({TimelineId{1}, last_segment_ - 4}, kSegment)));
  }
  void push_by_worker(const std::string& path, const ArchivePushOptions& options) {
    if (!pusher_) {
      pusher_repository_ = open();
      pusher_ = must(StanzaPusher::open(*pusher_repository_, clock_, options), "open pusher");
    }
    count("archive-push by the worker, one segment",
          [&] { must(pusher_->push(must(read_push_source(path), "read segment")), "push segment"); });
  }

  // -- Backups.

  /// The server's start is in the segment after the last one, and its stop at the end of that.
  uint64_t back_up(BackupType type, const std::string& command) {
    write_segment();
    const uint64_t number = last_segment_;
    const uint64_t base = number * kSegment;
    const std::string start = to_string(Lsn{base + 0x28});
    const std::string stop = to_string(Lsn{base + 0x138});
    const std::string segment = pg::segment_name({TimelineId{1}, number}, kSegment);
    ScriptedServer server(cluster_);
    const auto answer = [](const std::string& part, std::vector<std::optional<std::string>> row) {
      return std::pair<std::string, ScriptedServer::Answer>(
          part, [row = std::move(row)]() -> Result<ScriptedServer::PgRows> { return ScriptedServer::PgRows{row}; });
    };
    server.overrides = {
        answer("pg_walfile_name(pg_current", {segment}),
        answer("pg_backup_start(", {start}),
        answer("pg_current_wal_insert_lsn()", {to_string(Lsn{base + 0x100})}),
    };
    server.overrides.emplace_back("pg_backup_stop(", [&]() -> Result<ScriptedServer::PgRows> {
      archive(false);
      return ScriptedServer::PgRows{
          {stop,
           fmt::format("START WAL LOCATION: {} (file {})\nCHECKPOINT LOCATION: {}\nBACKUP METHOD: streamed\n"
                       "BACKUP FROM: primary\nSTART TIME: 2026-11-22 10:00:00 UTC\nLABEL: pgark backup\n"
                       "START TIMELINE: 1\n",
                       start, segment, to_string(Lsn{base + 0x60})),
           "", std::to_string(clock_.now().time_since_epoch().count())}};
    });
    BackupRequest request;
    request.stanza = kStanza;
    request.data_directory = cluster_.data();
    request.pgark_version = "scale";
    request.type = type;
    request.process_max = 2;
    request.start_fast = true;
    clock_.sleep_for(std::chrono::hours(1));
    BackupReport report;
    count(command, [&] {
      const auto repository = open();
      Progress progress;
      report = must(run_backup({{"repo1", repository.get()}}, server, request, clock_, cancel_, progress), "backup");
    });
    if (report.meta.type != type) die("the backup became " + std::string(backup_type_name(report.meta.type)));
    if (type == BackupType::kIncr && report.meta.scan != "wal") die("the incremental did not go by WAL");
    clock_.sleep_for(std::chrono::hours(1));
    return report.pack_count;
  }

  // -- The other commands.

  void check() {
    CheckOptions options;
    options.stanza = kStanza;
    options.data_directory = cluster_.data();
    options.online = false;
    Rng rng(1);
    count("check --no-online", [&] {
      CheckState state(options, clock_, rng, cancel_);
      CheckAccess access;
      access.open_session = []() -> Result<std::unique_ptr<PgSession>> {
        return Error(Errc::kTransient, "there is no server");
      };
      access.open_store = [this](unsigned) -> Result<std::unique_ptr<ObjectStore>> {
        return std::make_unique<Through>(store_);
      };
      must(run_check(state, access), "check");
    });
  }

  void verify() {
    Rng rng(1);
    count("verify, all", [&] {
      Progress progress;
      VerifyOptions options;
      options.stanza = kStanza;
      options.process_max = 2;
      const VerifyReport report = must(run_verify(*open(), {}, options, clock_, rng, cancel_, progress), "verify");
      if (!report.ok()) die("verify found damage: " + report.damages.front().cause);
    });
  }

  void restore() {
    RestoreRequest request;
    request.data_directory = cluster_.outside("restored");
    request.restore_command = "pgark archive-get %f \"%p\"";
    request.process_max = 2;
    count("restore, to the end of WAL", [&] {
      Progress progress;
      must(run_restore(*open(), kStanza, request, clock_, cancel_, progress), "restore");
    });
    std::filesystem::remove_all(request.data_directory);
  }

  void archive_get_all() {
    for (uint64_t number = last_segment_ - 8; number <= last_segment_; ++number) {
      const std::string name = pg::segment_name({TimelineId{1}, number}, kSegment);
      const ArchiveGetOptions options{.stanza = kStanza,
                                      .name = name,
                                      .destination = cluster_.outside("RECOVERYXLOG"),
                                      .data_directory = cluster_.data()};
      count("archive-get, one segment", [&] { must(archive_get(*open(), clock_, options), "get segment"); });
    }
  }

  void expire(const std::string& command, uint32_t full) {
    count(command, [&] {
      must(run_expire(*open(), clock_, cancel_, {.stanza = kStanza, .rules = rules(full), .set = ""}), "expire");
    });
  }

  /// check wants a store of its own.
  class Through final : public testing::ForwardingStore {
   public:
    using ForwardingStore::ForwardingStore;
    std::vector<Result<bool>> remove_many(std::span<const ObjectKey> keys) override {
      return inner().remove_many(keys);
    }
  };

 public:
  /// How often a command was counted.
  std::map<std::string, double> runs_;

 private:
  const Size size_;
  StepClock clock_;
  CancelToken cancel_;
  MemoryStore memory_{"repo1", clock_};
  CountingStore store_{memory_, true};
  std::unique_ptr<Repository> repository_;
  SampleCluster cluster_;
  testing::WalBuilder wal_{wal_options(1, Lsn{kSegment - 64})};
  uint64_t last_segment_ = 0;
  std::unique_ptr<Repository> pusher_repository_;
  std::unique_ptr<StanzaPusher> pusher_;
  Requests counts_;
  std::vector<CallCounts> counting_;  // Of commands that are being counted, one within the other.
};

/// Requests of one run of a command, by kind of object and name: what it takes at least, and more for each thing.
struct Cost {
  double base = 0;
  double per_pack = 0;
  double per_segment = 0;
  double per_backup = 0;
};
using Costs = std::map<std::string, std::map<std::string, std::map<std::string, Cost>>>;

struct Counted {
  Requests requests;
  uint64_t packs = 0;
};

Counted run_course(const Size& size) {
  Course course(size);
  Counted counted{course.run(), course.full_packs};
  for (auto& [command, kinds] : counted.requests)
    for (auto& [kind, names] : kinds)
      for (auto& [name, number] : names) number /= course.runs_.at(command);
  return counted;
}

const std::string kIncrCommand = "backup --type=incr";

/// What is asked for each of a thing is asked at least every other time; less is how the work happened to be shared
/// out.
double significant(double number) { return std::abs(number) < 0.5 ? 0 : number; }

/// From four courses, of which three have more of one thing than the first.
Costs find_costs(const Size& size) {
  Size more_data = size;
  more_data.mib *= 3;
  Size more_wal = size;
  more_wal.segments += 1000;  // So that it shows what is listed from the beginning to the end.
  Size more_backups = size;
  more_backups.incrementals += 2;
  Counted base = run_course(size);
  Counted data = run_course(more_data);
  Counted wal = run_course(more_wal);
  Counted backups = run_course(more_backups);
  const auto packs_more = static_cast<double>(data.packs - base.packs);
  Costs costs;
  for (Requests* one : {&base.requests, &data.requests, &wal.requests, &backups.requests})
    for (const auto& [command, kinds] : *one)
      for (const auto& [kind, names] : kinds)
        for (const auto& [name, number] : names) costs[command][kind][name];
  for (auto& [command, kinds] : costs)
    for (auto& [kind, names] : kinds)
      for (auto& [name, cost] : names) {
        const double first = base.requests[command][kind][name];
        // An incremental meets the WAL since the backup before it, the others all there is.
        const uint64_t gaps = command == kIncrCommand ? 1 : size.incrementals + 1;
        const auto segments_more = static_cast<double>((more_wal.segments - size.segments) * gaps);
        cost.per_pack = significant((data.requests[command][kind][name] - first) / packs_more);
        cost.per_segment = (wal.requests[command][kind][name] - first) / segments_more;
        // A listing takes a request for a thousand names, so here the small number counts as well; but not one request
        // more as soon as there is more than a page.
        cost.per_segment = name == "LIST" ? std::floor(cost.per_segment * 1000) / 1000 : significant(cost.per_segment);
        // Of three incrementals the first meets one backup, and the last three.
        const double backups_more = command == kIncrCommand ? 1 : 2;
        const double of_their_wal =
            command == kIncrCommand ? 0 : backups_more * static_cast<double>(size.segments) * cost.per_segment;
        cost.per_backup = significant((backups.requests[command][kind][name] - first - of_their_wal) / backups_more);
        cost.base = first - cost.per_pack * static_cast<double>(base.packs) -
                    cost.per_segment * static_cast<double>(size.segments * gaps) -
                    cost.per_backup * static_cast<double>(command == kIncrCommand ? 1 : size.incrementals + 1);
      }
  return costs;
}

double two_places(double value) { return std::round(value * 100) / 100; }
double four_places(double value) { return std::round(value * 10'000) / 10'000; }

Json json_of(const Costs& costs) {
  Json out = Json::object();
  for (const auto& [command, kinds] : costs)
    for (const auto& [kind, names] : kinds)
      for (const auto& [name, cost] : names)
        out[command][fmt::format("{} {}", name, kind)] = {{"base", two_places(cost.base)},
                                                          {"per_pack", two_places(cost.per_pack)},
                                                          {"per_segment", four_places(cost.per_segment)},
                                                          {"per_backup", two_places(cost.per_backup)}};
  return out;
}

// -- What it comes to.

/// A large cluster and how long its backups are kept.
struct Model {
  double tib = 10;
  double ratio = 3;       // Raw bytes to stored ones.
  double changed = 0.01;  // Of the pages, in a day.
  double wal_gib_day = 100;
  double wal_mib = 16;   // Of a segment.
  double wal_days = 35;  // For which all WAL is kept.
  double fulls_month = 4.35;
  double fulls_kept = 18;  // Five weekly, twelve monthly, one of the year before.
  double incrementals_kept = 30;

  static constexpr double kDays = 30.4;  // Of a month.
  double packs_full() const { return tib * 1024 * 1024 / ratio / 64; }
  double packs_incr() const { return packs_full() * changed; }
  double segments_day() const { return wal_gib_day * 1024 / wal_mib; }
  double segments() const { return segments_day() * wal_days; }
  double backups() const { return fulls_kept + incrementals_kept; }
  double packs() const { return fulls_kept * packs_full() + incrementals_kept * packs_incr(); }
  double stored_gib() const { return packs() / 16; }
  double wal_gib() const { return wal_gib_day * wal_days / ratio; }
};

// S3 Standard, us-east-1, USD.
constexpr double kPutThousand = 0.005;  // PUT, POST, LIST.
constexpr double kGetThousand = 0.0004;

double storage_price(double gib) {
  const double first = std::min(gib, 50.0 * 1024);
  const double second = std::clamp(gib - 50.0 * 1024, 0.0, 450.0 * 1024);
  return first * 0.023 + second * 0.022 + std::max(0.0, gib - 500.0 * 1024) * 0.021;
}

/// A command as it is run in a month: how often, and of how many things.
struct Event {
  std::string command;
  double times = 0;
  double packs = 0;
  double segments = 0;
  double backups = 0;
  double own_packs = 0;  // Written on top.
};

Json bill_of(const Costs& costs, const Model& model, const Event& event) {
  std::map<std::string, double> sums;
  for (const auto& [kind, names] : costs.at(event.command))
    for (const auto& [name, cost] : names) {
      // Listings of WAL pass over what is before a backup, or go through all there is.
      const double segments = name == "LIST" ? model.segments() : event.segments;
      double number =
          cost.base + cost.per_pack * event.packs + cost.per_segment * segments + cost.per_backup * event.backups;
      // What is listed from the beginning to the end takes a request for a thousand.
      const double objects = kind == "pack" ? model.packs() : kind == "backup" ? model.backups() : 0;
      if (name == "LIST") number *= std::max(1.0, std::ceil(objects / 1000));
      sums[name] += std::max(0.0, number);
    }
  if (event.own_packs > 0)
    sums["PUT"] += costs.at("backup --type=full").at("pack").at("PUT").per_pack * event.own_packs;
  double price = 0;
  Json row{{"command", event.command}, {"times", event.times}};
  for (const char* name : {"PUT", "LIST", "GET", "HEAD"}) {
    row[name] = std::round(sums[name]);
    const bool is_write = name[0] == 'P' || name[0] == 'L';
    price += sums[name] * event.times * (is_write ? kPutThousand : kGetThousand) / 1000;
  }
  row["usd_month"] = two_places(price);
  return row;
}

Json bill(const Costs& costs, const Model& model) {
  const double days = Model::kDays;
  const double full = model.packs_full();
  const std::vector<Event> events{
      {"backup --type=full", model.fulls_month, full, 0, model.backups()},
      {"backup --type=incr", days - model.fulls_month, full, model.segments_day(), model.backups(), model.packs_incr()},
      {"archive-push by the worker, one segment", model.segments_day() * days},
      {"expire, nothing goes", days, 0, 0, model.backups()},
      {"expire, its packs and WAL go", model.fulls_month, full, 7 * model.segments_day(), model.backups()},
      {"info", 24 * days, 0, 0, model.backups()},
      {"verify, all", 1, model.packs(), model.segments(), model.backups()},
      {"restore, to the end of WAL", 1, full, model.segments_day() / 2, model.backups()},
      {"archive-get, one segment", model.segments_day() / 2},
  };
  Json rows = Json::array();
  double requests = 0;
  for (const Event& event : events) {
    rows.push_back(bill_of(costs, model, event));
    requests += rows.back()["usd_month"].get<double>();
  }
  return {{"tib", model.tib},
          {"wal_gib_day", model.wal_gib_day},
          {"wal_segment_mib", model.wal_mib},
          {"wal_days", model.wal_days},
          {"fulls_kept", model.fulls_kept},
          {"incrementals_kept", model.incrementals_kept},
          {"packs_full", std::round(model.packs_full())},
          {"packs", std::round(model.packs())},
          {"segments", std::round(model.segments())},
          {"stored_gib", std::round(model.stored_gib())},
          {"wal_gib", std::round(model.wal_gib())},
          {"requests", rows},
          {"usd_requests", two_places(requests)},
          {"usd_storage_backups", two_places(storage_price(model.stored_gib()))},
          {"usd_storage", two_places(storage_price(model.stored_gib() + model.wal_gib()))},
          {"usd_month", two_places(requests + storage_price(model.stored_gib() + model.wal_gib()))}};
}

/// The same cluster kept in other ways.
Json bills(const Costs& costs) {
  Json out = Json::object();
  const Model weekly;
  out["a full a week"] = bill(costs, weekly);
  Model once = weekly;
  once.fulls_month = 1.0 / 12;
  once.fulls_kept = 1;
  once.incrementals_kept = 365;  // Those between the kept ones count as well: what they alone needed is not told apart.
  out["a full a year, incrementals for ever"] = bill(costs, once);
  Model year_of_wal = weekly;
  year_of_wal.wal_days = 365;
  out["a full a week, WAL of a year"] = bill(costs, year_of_wal);
  Model large_segments = weekly;
  large_segments.wal_mib = 64;
  out["a full a week, segments of 64 MiB"] = bill(costs, large_segments);
  return out;
}

}  // namespace

int run_requests(int argc, char** argv) {
  const Arguments arguments(argc, argv, {"mib", "segments"});
  const Size size{arguments.number("mib", 192), arguments.number("segments", 16), 1};
  const Costs costs = find_costs(size);
  std::printf("%s\n", Json{{"costs", json_of(costs)}, {"bills", bills(costs)}}.dump(2).c_str());
  return 0;
}

}  // namespace pgark::scale
