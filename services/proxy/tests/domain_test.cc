#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>

#include "base/digest.h"
#include "proxy/domain/carried.h"
#include "proxy/domain/own_settings.h"
#include "proxy/domain/scram.h"
#include "proxy/domain/startup.h"
#include "proxy/domain/wire.h"

namespace trunkline::proxy {
namespace {

constexpr char kUuid[] = "11111111-2222-4333-8444-555555555555";

// --- start-up packets ---

FirstPacket parsed(const std::vector<std::pair<std::string, std::string>>& parameters) {
  return parse_first_packet(startup_packet(parameters));
}

TEST(Startup, sizes) {
  const auto size = [](uint32_t value) {
    std::string bytes;
    put_uint32(bytes, value);
    return first_packet_size(bytes);
  };
  EXPECT_FALSE(size(0));
  EXPECT_FALSE(size(7));
  EXPECT_EQ(size(8), 8u);
  EXPECT_EQ(size(kMaxStartupBytes), kMaxStartupBytes);
  EXPECT_FALSE(size(kMaxStartupBytes + 1));
  EXPECT_FALSE(size(UINT32_MAX));
}

TEST(Startup, user_and_database_come_first_and_the_rest_follows) {
  const FirstPacket packet = parsed({{"application_name", "x"}, {"user", "u"}});
  EXPECT_EQ(packet.kind, FirstPacket::Kind::startup);
  using Pair = std::pair<std::string, std::string>;
  EXPECT_THAT(packet.parameters,
              ::testing::ElementsAre(Pair{"user", "u"}, Pair{"database", "u"},
                                     Pair{"application_name", "x"}));
}

TEST(Startup, refuses_what_is_malformed) {
  EXPECT_EQ(parsed({{"database", "d"}}).why.sqlstate, "28000");
  std::string unfinished = startup_packet({{"user", "u"}});
  unfinished.pop_back();
  EXPECT_EQ(parse_first_packet(unfinished).kind, FirstPacket::Kind::malformed);
  const std::string trailing = startup_packet({{"user", "u"}}) + "x";
  EXPECT_EQ(parse_first_packet(trailing).kind, FirstPacket::Kind::malformed);
  EXPECT_EQ(parse_first_packet(ssl_request() + "x").kind, FirstPacket::Kind::malformed);
  EXPECT_EQ(parse_first_packet(cancel_request(1, 2) + "x").kind, FirstPacket::Kind::malformed);
}

TEST(Startup, replication_in_all_its_spellings) {
  for (const char* yes : {"true", "on", "yes", "1", "database"}) {
    EXPECT_TRUE(parsed({{"user", "u"}, {"replication", yes}}).replication) << yes;
  }
  for (const char* no : {"false", "off", "no", "0"}) {
    EXPECT_FALSE(parsed({{"user", "u"}, {"replication", no}}).replication) << no;
  }
}

TEST(Startup, endpoint_in_options) {
  struct Row {
    std::string options;
    std::string rest;
    bool found;
    EndpointKind kind;
  };
  const std::string id = kUuid;
  const auto read_write = EndpointKind::read_write;
  const std::vector<Row> rows = {
      {"-c trunkline.endpoint=" + id, "", true, read_write},
      {"-ctrunkline.endpoint=" + id, "", true, read_write},
      {"--trunkline.endpoint=" + id, "", true, read_write},
      {"-c trunkline.endpoint=" + id + "-ro", "", true, EndpointKind::read_only},
      {"  -c  geqo=off  -c trunkline.endpoint=" + id + " ", "-c geqo=off", true, read_write},
      {"-c trunkline.endpoint=" + id + " -c a=b\\ c", "-c a=b\\ c", true, read_write},
      {"-c trunkline.endpoint=" + id + "x", "", false, read_write},
      {"-c trunkline.endpoint=", "", false, read_write},
      {"trunkline.endpoint=" + id, "trunkline.endpoint=" + id, false, read_write},
      {"-c", "-c", false, read_write},
      {"\\", "\\", false, read_write},
      {"", "", false, read_write},
  };
  for (const auto& row : rows) {
    const SplitOptions split = split_options(row.options);
    EXPECT_EQ(split.rest, row.rest) << row.options;
    EXPECT_EQ(split.endpoint.has_value(), row.found) << row.options;
    if (split.endpoint) {
      EXPECT_EQ(split.endpoint->kind, row.kind) << row.options;
    }
  }
}

TEST(Startup, an_endpoint_that_is_misspelt_names_nothing_that_exists) {
  const FirstPacket packet = parsed({{"user", "u"}, {"options", "-c trunkline.endpoint=x"}});
  ASSERT_TRUE(packet.endpoint);
  EXPECT_TRUE(packet.endpoint->instance.empty());
}

TEST(Startup, server_names) {
  const std::string id = kUuid;
  EXPECT_EQ(endpoint_of_server_name(id)->instance.str(), id);
  EXPECT_EQ(endpoint_of_server_name(id + ".db.example.org")->kind, EndpointKind::read_write);
  EXPECT_EQ(endpoint_of_server_name(id + "-ro.db")->kind, EndpointKind::read_only);
  EXPECT_EQ(endpoint_of_server_name("ABCDEF00-2222-4333-8444-555555555555.x")->instance.str(),
            "abcdef00-2222-4333-8444-555555555555");
  for (const auto& none : {std::string(), std::string("db.example.org"), id + "x", id + "-rox",
                           id + "-r", id.substr(1) + ".x"}) {
    EXPECT_FALSE(endpoint_of_server_name(none)) << none;
  }
}

TEST(Startup, any_bytes_are_survived) {
  std::mt19937 dice(4711);
  for (int round = 0; round < 20'000; ++round) {
    std::string bytes = startup_packet({{"user", "u"}, {"options", "-c trunkline.endpoint=x y"}});
    for (uint32_t i = dice() % 6; i > 0; --i) {
      bytes[dice() % bytes.size()] = static_cast<char>(dice());
    }
    bytes.resize(8 + dice() % (bytes.size() - 7));
    const FirstPacket packet = parse_first_packet(bytes);
    if (packet.kind == FirstPacket::Kind::malformed) {
      EXPECT_FALSE(packet.why.sqlstate.empty());
    }
    if (packet.kind == FirstPacket::Kind::startup) {
      EXPECT_FALSE(packet.user.empty());
    }
  }
}

// --- SCRAM ---

// RFC 7677, section 3.
constexpr char kRfcVerifier[] =
    "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:"
    "wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=";
constexpr char kRfcNonce[] = "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";
constexpr char kRfcFirst[] = "n,,n=user,r=rOprNGfwEbeRWgbNEkqO";
constexpr char kRfcFinal[] =
    "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,"
    "p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=";

TEST(Scram, the_rfcs_own_exchange) {
  ScramServer server(*parse_verifier(kRfcVerifier), kRfcNonce, "");
  ASSERT_EQ(server.take_first(kScram, kRfcFirst), ScramServer::Step::go_on);
  EXPECT_EQ(server.reply(),
            "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,"
            "i=4096");
  ASSERT_EQ(server.take_final(kRfcFinal), ScramServer::Step::go_on);
  EXPECT_EQ(server.reply(), "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=");
  EXPECT_EQ(sha256(server.client_key()), parse_verifier(kRfcVerifier)->stored_key);
}

TEST(Scram, the_key_that_a_proof_reveals_opens_another_server) {
  ScramServer first(*parse_verifier(kRfcVerifier), kRfcNonce, "");
  first.take_first(kScram, kRfcFirst);
  first.take_final(kRfcFinal);
  const Verifier verifier = *parse_verifier(kRfcVerifier);
  ScramClient client(first.client_key(), verifier.stored_key, verifier.server_key, "mine");
  ScramServer node(verifier, "theirs", "");
  ASSERT_EQ(node.take_first(kScram, client.first()), ScramServer::Step::go_on);
  const auto last = client.final(node.reply());
  ASSERT_TRUE(last);
  ASSERT_EQ(node.take_final(*last), ScramServer::Step::go_on);
  EXPECT_TRUE(client.is_genuine(node.reply()));
  EXPECT_FALSE(client.is_genuine("v=" + base64(std::string(32, 'x'))));
}

TEST(Scram, every_flipped_bit_of_a_proof_is_wrong) {
  const std::string proof = *unbase64("dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=");
  for (size_t bit = 0; bit < 256; ++bit) {
    std::string other = proof;
    other[bit / 8] = static_cast<char>(other[bit / 8] ^ (1 << bit % 8));
    ScramServer server(*parse_verifier(kRfcVerifier), kRfcNonce, "");
    server.take_first(kScram, kRfcFirst);
    EXPECT_EQ(server.take_final("c=biws,r=rOprNGfwEbeRWgbNEkqO" + std::string(kRfcNonce) + ",p=" +
                                base64(other)),
              ScramServer::Step::wrong_proof);
    EXPECT_TRUE(server.client_key().empty());
  }
}

TEST(Scram, malformed_messages) {
  const auto first = [](std::string_view mechanism, std::string_view text, std::string binding) {
    return ScramServer(*parse_verifier(kRfcVerifier), kRfcNonce, std::move(binding))
        .take_first(mechanism, text);
  };
  const auto bad = ScramServer::Step::malformed;
  const auto good = ScramServer::Step::go_on;
  EXPECT_EQ(first(kScram, "n,,n=,r=abc", ""), good);
  EXPECT_EQ(first(kScram, "y,,n=,r=abc", ""), good);
  EXPECT_EQ(first(kScram, "y,,n=,r=abc", "hash"), bad);  // binding was hidden from the client
  EXPECT_EQ(first(kScram, "p=tls-server-end-point,,n=,r=abc", "hash"), bad);
  EXPECT_EQ(first(kScramPlus, "p=tls-server-end-point,,n=,r=abc", "hash"), good);
  EXPECT_EQ(first(kScramPlus, "p=tls-server-end-point,,n=,r=abc", ""), bad);
  EXPECT_EQ(first(kScramPlus, "p=tls-unique,,n=,r=abc", "hash"), bad);
  EXPECT_EQ(first(kScramPlus, "n,,n=,r=abc", "hash"), bad);
  EXPECT_EQ(first("SCRAM-SHA-1", "n,,n=,r=abc", ""), bad);
  EXPECT_EQ(first(kScram, "n,a=other,n=,r=abc", ""), bad);
  EXPECT_EQ(first(kScram, "n,,n=,r=", ""), bad);
  EXPECT_EQ(first(kScram, "n,,m=ext,n=,r=abc", ""), bad);
  EXPECT_EQ(first(kScram, "", ""), bad);
  for (const std::string& text :
       {std::string(), std::string("c=biws,r=rOprNGfwEbeRWgbNEkqO,p=AAAA"),
        "c=eSws,r=rOprNGfwEbeRWgbNEkqO" + std::string(kRfcNonce) + ",p=AAAA",
        "c=biws,r=rOprNGfwEbeRWgbNEkqO" + std::string(kRfcNonce),
        "c=biws,r=rOprNGfwEbeRWgbNEkqO" + std::string(kRfcNonce) + ",p=AAAA"}) {
    ScramServer server(*parse_verifier(kRfcVerifier), kRfcNonce, "");
    server.take_first(kScram, kRfcFirst);
    EXPECT_EQ(server.take_final(text), bad) << text;
  }
}

TEST(Scram, a_mock_is_as_real_as_any_and_fits_no_password) {
  const Verifier mock = mock_verifier("key", "name");
  EXPECT_EQ(mock.salt, mock_verifier("key", "name").salt);
  EXPECT_NE(mock.salt, mock_verifier("key", "name2").salt);
  EXPECT_NE(mock.salt, mock_verifier("key2", "name").salt);
  EXPECT_EQ(mock.salt.size(), 16u);
  EXPECT_EQ(mock.iterations, 4096);
}

// --- carried state ---

TEST(OwnSettings, are_seen) {
  for (const char* sql :
       {"SET app.user = 'x'", "set session app.user to 1", "select 1; SeT\n\"App\".\"user\"='x'",
        "SELECT set_config('app.user', $1, false)",
        "select pg_catalog.SET_CONFIG('a.b','',true)"}) {
    EXPECT_TRUE(sets_own_setting(sql)) << sql;
  }
  for (const char* sql :
       {"", "se", "set", "SET", "SET LOCAL app.user = 'x'", "SET work_mem = '1.5MB'",
        "UPDATE t SET a = t.b", "SELECT offset.set", "SELECT 'reset app.user'", "RESET app.user",
        "SET search_path = a.b", "select my_set_config('a.b')"}) {
    EXPECT_FALSE(sets_own_setting(sql)) << sql;
  }
}

TEST(Carried, quotes_cannot_be_left) {
  CarriedState state;
  state.settings = {{"role", "r"}, {"search_path", "it's \\ here"}};
  state.statements.push_back({"n", "SELECT $1", false, {23}});
  const Replay told = replay(state);
  EXPECT_EQ(told.ready_count, 3u);
  EXPECT_EQ(told.messages,
            simple_query("SELECT pg_catalog.set_config("
                         " E'search_path', E'it''s \\\\ here', false)") +
                parse_message("n", "SELECT $1", {23}) + message('S', {}) +
                simple_query("SELECT pg_catalog.set_config( E'role', E'r', false)"));
  EXPECT_EQ(replay({}).ready_count, 0u);
}

TEST(Carried, rows_that_are_none_are_refused) {
  CarriedState state;
  EXPECT_FALSE(take_row(state, ""));
  EXPECT_FALSE(take_row(state, std::string("\0\4\0\0\0\1x", 7)));
  std::string row("\0\4", 2);
  for (const std::string& column : {std::string("parse"), std::string("s"),
                                    std::string("SELECT $1"), std::string("{20,1043}")}) {
    put_uint32(row, static_cast<uint32_t>(column.size()));
    row += column;
  }
  ASSERT_TRUE(take_row(state, row));
  EXPECT_THAT(state.statements[0].types, ::testing::ElementsAre(20u, 1043u));
}

}  // namespace
}  // namespace trunkline::proxy
