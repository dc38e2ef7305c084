// The fake Google Cloud Storage behaves as Google's reference says, strictly where a client could get it wrong.
#include "testing/gcs_fake.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <openssl/bio.h>
#include <openssl/evp.h>
#include <openssl/pem.h>

#include <ctime>
#include <nlohmann/json.hpp>

#include "codec/encoding.h"
#include "testing/http_client.h"
#include "testing/pg_server.h"

namespace pgark::testing {
namespace {

using nlohmann::json;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

const std::string kObjects = "/storage/v1/b/pgark-test/o";
const std::string kUpload = "/upload/storage/v1/b/pgark-test/o";

class Gcs : public ::testing::Test {
 protected:
  void SetUp() override { start({}); }
  void start(const GcsOptions& options) {
    ASSERT_OK_AND_ASSIGN(gcs_, GcsFake::start(options));
    token_ = gcs_->new_token();
  }
  HttpReply call(const std::string& method, const std::string& target, std::string_view body = {},
                 HttpHeaders headers = {}) {
    if (!token_.empty()) headers.emplace_back("Authorization", "Bearer " + token_);
    auto reply = http_exchange("127.0.0.1", gcs_->port(), method, target, headers, body);
    EXPECT_TRUE(reply.has_value()) << reply.error().to_string();
    return reply ? std::move(*reply) : HttpReply{};
  }
  HttpReply put(const std::string& name, std::string_view content, const std::string& more = {}) {
    return call("POST", kUpload + "?uploadType=media&name=" + percent_encode(name, false) + more, content);
  }
  static json parse(const HttpReply& reply) { return json::parse(reply.body, nullptr, false); }

  /// Path and query of a new session.
  std::string begin_session(const std::string& name, const std::string& more = {}) {
    const HttpReply reply = call("POST", kUpload + "?uploadType=resumable&name=" + name + more);
    EXPECT_EQ(reply.status, 200) << reply.body;
    const std::string location = reply.header("location");
    return location.substr(std::min(location.size(), gcs_->url().size()));
  }
  HttpReply chunk(const std::string& session, std::string_view data, const std::string& range,
                  HttpHeaders headers = {}) {
    headers.emplace_back("Content-Range", "bytes " + range);
    return call("PUT", session, data, headers);
  }

  std::unique_ptr<GcsFake> gcs_;
  std::string token_;
};

TEST_F(Gcs, RefusesRequestsWithoutAGoodToken) {
  EXPECT_EQ(call("GET", kObjects).status, 200);
  gcs_->expire_tokens();
  const HttpReply expired = call("GET", kObjects);
  EXPECT_EQ(expired.status, 401);
  EXPECT_EQ(parse(expired)["error"]["errors"][0]["reason"], "authError");
  token_.clear();
  EXPECT_EQ(call("GET", kObjects).status, 401);
}

TEST_F(Gcs, KeepsTheFirstOfTwoCreates) {
  const HttpReply first = put("a/b c", "first", "&ifGenerationMatch=0");
  EXPECT_EQ(first.status, 200);
  const json resource = parse(first);
  EXPECT_EQ(resource["name"], "a/b c");
  EXPECT_EQ(resource["size"], "5");
  EXPECT_EQ(resource["md5Hash"], "iwTV43ddKY54RV78XKQE1Q==");
  EXPECT_EQ(resource["crc32c"], "ij6hUA==");
  const HttpReply second = put("a/b c", "second", "&ifGenerationMatch=0");
  EXPECT_EQ(second.status, 412);
  EXPECT_EQ(parse(second)["error"]["errors"][0]["reason"], "conditionNotMet");
  EXPECT_EQ(gcs_->get("pgark-test", "a/b c"), "first");
  const std::string generation = resource["generation"];
  EXPECT_EQ(put("a/b c", "third", "&ifGenerationMatch=" + generation).status, 200);
  EXPECT_EQ(put("a/b c", "fourth", "&ifGenerationMatch=" + generation).status, 412);
}

TEST_F(Gcs, ReadsWholeObjectsAndRanges) {
  put("a/b", "0123456789");
  const std::string media = kObjects + "/a%2Fb?alt=media";
  const HttpReply whole = call("GET", media);
  EXPECT_EQ(whole.body, "0123456789");
  EXPECT_THAT(whole.header("x-goog-hash"), HasSubstr("crc32c="));
  const HttpReply part = call("GET", media, {}, {{"Range", "bytes=2-4"}});
  EXPECT_EQ(part.status, 206);
  EXPECT_EQ(part.body, "234");
  EXPECT_EQ(part.header("content-range"), "bytes 2-4/10");
  EXPECT_EQ(call("GET", media, {}, {{"Range", "bytes=-3"}}).body, "789");
  EXPECT_EQ(call("GET", media, {}, {{"Range", "bytes=8-20"}}).body, "89");
  EXPECT_EQ(call("GET", media, {}, {{"Range", "bytes=10-"}}).status, 416);
  EXPECT_EQ(parse(call("GET", kObjects + "/a%2Fb?fields=size,crc32c")).size(), 2u);
  // Not encoded, the slash is part of another path.
  EXPECT_EQ(call("GET", kObjects + "/a/b?alt=media").status, 404);
  EXPECT_EQ(call("DELETE", kObjects + "/a%2Fb").status, 204);
  EXPECT_EQ(call("DELETE", kObjects + "/a%2Fb").status, 404);
  EXPECT_EQ(call("GET", media).body, "No such object: pgark-test/a/b");
}

TEST_F(Gcs, ListsInOrderByPages) {
  start({.page_items_max = 2});
  for (const char* name : {"b/2", "a", "b/10", "b/1", "c/x/y", "c/z"}) put(name, "x");
  std::vector<std::string> names;
  std::string token;
  int pages = 0;
  do {
    const json page = parse(call("GET", kObjects + "?maxResults=100&pageToken=" + token));
    for (const json& item : page["items"]) names.push_back(item["name"]);
    token = page.value("nextPageToken", "");
    ++pages;
  } while (!token.empty());
  EXPECT_THAT(names, ElementsAre("a", "b/1", "b/10", "b/2", "c/x/y", "c/z"));
  EXPECT_EQ(pages, 3);
  const json from = parse(call("GET", kObjects + "?prefix=b%2F&startOffset=b%2F10&fields=items(name)"));
  EXPECT_EQ(from["items"], json::parse(R"([{"name":"b/10"},{"name":"b/2"}])"));
  const json folders = parse(call("GET", kObjects + "?delimiter=%2F&prefix=c%2F"));
  EXPECT_EQ(folders["prefixes"], json::parse(R"(["c/x/"])"));
  EXPECT_EQ(folders["items"].size(), 1u);
  EXPECT_FALSE(parse(call("GET", kObjects + "?prefix=none")).contains("items"));
}

TEST_F(Gcs, UploadsInChunksOfWholeQuanta) {
  const size_t quantum = 256u << 10;
  const std::string data(2 * quantum + 100, 'd');
  const std::string session = begin_session("big", "&ifGenerationMatch=0");
  token_.clear();  // The address of a session is enough.
  const HttpReply nothing = chunk(session, {}, "*/*");
  EXPECT_EQ(nothing.status, 308);
  EXPECT_EQ(nothing.header("range"), "");
  EXPECT_EQ(
      chunk(session, std::string_view(data).substr(0, quantum), fmt::format("0-{}/*", quantum - 1)).header("range"),
      "bytes=0-262143");
  // Half a quantum is dropped, what is known already is passed over, a gap is refused.
  EXPECT_EQ(chunk(session, std::string(1000, 'd'), fmt::format("{}-{}/*", quantum, quantum + 999)).header("range"),
            "bytes=0-262143");
  EXPECT_EQ(chunk(session, std::string_view(data).substr(0, 2 * quantum), fmt::format("0-{}/*", 2 * quantum - 1))
                .header("range"),
            "bytes=0-524287");
  EXPECT_EQ(chunk(session, "x", fmt::format("{}-{}/*", 3 * quantum, 3 * quantum)).status, 503);
  EXPECT_EQ(gcs_->unfinished_uploads(), 1u);
  const std::string rest(100, 'd');
  const std::string last_range = fmt::format("{}-{}/{}", 2 * quantum, data.size() - 1, data.size());
  EXPECT_EQ(chunk(session, rest, last_range, {{"X-Goog-Hash", "md5=AAAAAAAAAAAAAAAAAAAAAA=="}}).status, 400);
  EXPECT_EQ(gcs_->get("pgark-test", "big"), std::nullopt);
}

TEST_F(Gcs, FinishesAnUploadOnceAndTellsAgain) {
  const std::string session = begin_session("big", "&ifGenerationMatch=0");
  const HttpReply done = chunk(session, "abc", "0-2/3");
  EXPECT_EQ(done.status, 200);
  EXPECT_EQ(gcs_->unfinished_uploads(), 0u);
  EXPECT_EQ(parse(chunk(session, {}, "*/3"))["generation"], parse(done)["generation"]);
  EXPECT_EQ(call("POST", kUpload + "?uploadType=resumable&name=big&ifGenerationMatch=0").status, 412);
  const std::string racing = begin_session("other", "&ifGenerationMatch=0");
  put("other", "was first");
  EXPECT_EQ(chunk(racing, "abc", "0-2/3").status, 412);
  EXPECT_EQ(call("DELETE", racing).status, 499);
  EXPECT_EQ(chunk(racing, {}, "*/3").status, 404);
  EXPECT_EQ(gcs_->get("pgark-test", "other"), "was first");
}

TEST_F(Gcs, MayKeepLessOfAChunkThanWasSent) {
  const size_t quantum = 256u << 10;
  start({.persisted_bytes_max = quantum});
  const std::string session = begin_session("big");
  const std::string data(2 * quantum, 'd');
  EXPECT_EQ(chunk(session, data, fmt::format("0-{}/{}", data.size() - 1, data.size())).header("range"),
            "bytes=0-262143");
  EXPECT_EQ(chunk(session, data.substr(quantum), fmt::format("{}-{}/{}", quantum, data.size() - 1, data.size())).status,
            200);
}

TEST_F(Gcs, ChecksTheChecksumsOfAMultipartUpload) {
  const auto body = [](const std::string& md5) {
    return "--x\r\nContent-Type: application/json\r\n\r\n{\"name\":\"m\",\"md5Hash\":\"" + md5 +
           "\"}\r\n--x\r\nContent-Type: application/octet-stream\r\n\r\nfirst\r\n--x--\r\n";
  };
  const HttpHeaders type{{"Content-Type", "multipart/related; boundary=x"}};
  const std::string target = kUpload + "?uploadType=multipart";
  EXPECT_EQ(call("POST", target, body("AAAAAAAAAAAAAAAAAAAAAA=="), type).status, 400);
  EXPECT_EQ(gcs_->get("pgark-test", "m"), std::nullopt);
  EXPECT_EQ(call("POST", target, body("iwTV43ddKY54RV78XKQE1Q=="), type).status, 200);
  EXPECT_EQ(gcs_->get("pgark-test", "m"), "first");
}

TEST_F(Gcs, ComposesAndDeletesInBatches) {
  put("1", "one");
  put("2", "two");
  const HttpReply made = call("POST", kObjects + "/sum/compose", R"({"sourceObjects":[{"name":"1"},{"name":"2"}]})");
  EXPECT_EQ(made.status, 200);
  EXPECT_FALSE(parse(made).contains("md5Hash"));
  EXPECT_EQ(gcs_->get("pgark-test", "sum"), "onetwo");
  std::string body;
  for (const char* name : {"1", "2", "3"}) {
    body += fmt::format(
        "--x\r\nContent-Type: application/http\r\nContent-ID: <{}>\r\n\r\nDELETE {}/{} HTTP/1.1\r\n\r\n\r\n", name,
        kObjects, name);
  }
  const HttpReply batch =
      call("POST", "/batch/storage/v1", body + "--x--\r\n", {{"Content-Type", "multipart/mixed; boundary=x"}});
  EXPECT_THAT(batch.body, HasSubstr("<response-1>\r\n\r\nHTTP/1.1 204"));
  EXPECT_THAT(batch.body, HasSubstr("<response-3>\r\n\r\nHTTP/1.1 404"));
  EXPECT_THAT(gcs_->list("pgark-test"), ElementsAre("sum"));
}

/// A JSON web token, signed with the key of a service account.
std::string sign(const std::string& key_pem, const json& claims) {
  const std::string content = base64_encode(R"({"alg":"RS256","typ":"JWT"})", Base64::kUrlNoPadding) + "." +
                              base64_encode(claims.dump(), Base64::kUrlNoPadding);
  BIO* bio = BIO_new_mem_buf(key_pem.data(), static_cast<int>(key_pem.size()));
  EVP_PKEY* key = PEM_read_bio_PrivateKey(bio, nullptr, nullptr, nullptr);
  EVP_MD_CTX* digest = EVP_MD_CTX_new();
  std::string signature(512, '\0');
  size_t bytes = signature.size();
  EXPECT_EQ(EVP_DigestSignInit(digest, nullptr, EVP_sha256(), nullptr, key), 1);
  EXPECT_EQ(EVP_DigestSign(digest, reinterpret_cast<unsigned char*>(signature.data()), &bytes,
                           reinterpret_cast<const unsigned char*>(content.data()), content.size()),
            1);
  EVP_MD_CTX_free(digest);
  EVP_PKEY_free(key);
  BIO_free(bio);
  signature.resize(bytes);
  return content + "." + base64_encode(signature, Base64::kUrlNoPadding);
}

TEST_F(Gcs, GivesTokensForSignedAssertionsOnly) {
  const json account = json::parse(gcs_->service_account_json());
  const int64_t now = std::time(nullptr);
  json claims = {{"iss", account["client_email"]},
                 {"scope", "https://www.googleapis.com/auth/devstorage.read_write"},
                 {"aud", account["token_uri"]},
                 {"iat", now},
                 {"exp", now + 3600}};
  const auto ask = [&](const std::string& assertion) {
    return call("POST", "/token",
                "grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer&assertion=" +
                    percent_encode(assertion, false));
  };
  const std::string good = sign(account["private_key"], claims);
  const HttpReply answer = ask(good);
  ASSERT_EQ(answer.status, 200) << answer.body;
  token_ = parse(answer)["access_token"];
  EXPECT_EQ(call("GET", kObjects).status, 200);
  std::string forged = good;
  forged[forged.size() - 20] = forged[forged.size() - 20] == 'A' ? 'B' : 'A';
  EXPECT_EQ(parse(ask(forged))["error"], "invalid_grant");
  claims["exp"] = now + 7200;
  EXPECT_EQ(ask(sign(account["private_key"], claims)).status, 400);
}

TEST_F(Gcs, GivesTokensToVirtualMachines) {
  const std::string path = "/computeMetadata/v1/instance/service-accounts/default/token";
  EXPECT_EQ(call("GET", path).status, 403);
  const HttpReply answer = call("GET", path, {}, {{"Metadata-Flavor", "Google"}});
  token_ = parse(answer).value("access_token", "");
  EXPECT_EQ(call("GET", kObjects).status, 200);
}

}  // namespace
}  // namespace pgark::testing
