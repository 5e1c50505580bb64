%%% Every option of TLS that ranch_ssl takes, in one table: what it may be, and what becomes of it.
%%%
%%% An option is used (outrider_credentials makes the sidecar's settings of it), is quietly without effect (it steers what TLS 1.2
%%% and 1.3 do not have, or what the sidecar does by itself), cannot be honoured and is named once in the log, or is
%%% refused by name: what a listener without it would do is not what its user wants. Pure.
-module(outrider_tls).

-export([split/1, has_certificate/1, check/1, check_host/1, instead/1, unsupported/1, seal/1, protocols/1, versions/1, groups/1, ciphers/1]).
-export([logs_alerts/1]).

-type option() :: {atom(), term()}.

%% The numbers of RFC 8446, appendix B.4, and of RFC 5289 and RFC 7905.
-define(SUITES, #{
    "TLS_AES_128_GCM_SHA256" => {'tlsv1.3', 16#1301},
    "TLS_AES_256_GCM_SHA384" => {'tlsv1.3', 16#1302},
    "TLS_CHACHA20_POLY1305_SHA256" => {'tlsv1.3', 16#1303},
    "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256" => {'tlsv1.2', 16#c02b},
    "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384" => {'tlsv1.2', 16#c02c},
    "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256" => {'tlsv1.2', 16#c02f},
    "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384" => {'tlsv1.2', 16#c030},
    "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256" => {'tlsv1.2', 16#cca8},
    "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256" => {'tlsv1.2', 16#cca9}
}).

%% The options of TLS among those of a socket, and the others, each in their order.
-spec split([term()]) -> {[option()], [term()]}.
split(SocketOpts) ->
    lists:partition(
        fun
            ({Key, _}) -> option(Key) =/= unknown;
            (_) -> false
        end,
        SocketOpts
    ).

%% As ranch_ssl (2.2): else there is nothing to listen with.
-spec has_certificate([option()]) -> boolean().
has_certificate(Opts) ->
    Keys = [cert, certfile, certs_keys, sni_fun, sni_hosts, user_lookup_fun],
    lists:any(fun(Key) -> lists:keymember(Key, 1, Opts) end, Keys).

%% Whether the options are such as the table says, and go together.
-spec check([option()]) -> ok | {error, {bad_option, atom()}}.
check(Opts) ->
    case [Key || {Key, Value} <- Opts, not allowed(option(Key), Value)] ++ contradictions(maps:from_list(lists:reverse(Opts))) of
        [] -> ok;
        [Key | _] -> {error, {bad_option, Key}}
    end.

%% The same of what sni_hosts and sni_fun say of a host. Clients may be verified by what the listener says.
-spec check_host([option()]) -> ok | {error, {bad_option, atom()}}.
check_host(Opts) ->
    case [Key || Key <- [verify_fun, partial_chain], proplists:get_value(Key, Opts) =/= undefined] of
        [] -> check(Opts);
        [Key | _] -> {error, {bad_option, Key}}
    end.

%% Why an option is refused that Cowboy has, and what is to be used in its place.
-spec instead(term()) -> string() | undefined.
instead(verify_fun) ->
    "the sidecar verifies clients' certificates, in the middle of a handshake that cannot wait for the VM. Have it verify against "
    "cacerts, depth and crl_check, and look at cowboy_req:cert/1 in a middleware that answers 403";
instead(partial_chain) ->
    "a certificate of cacerts is trusted though no root vouches for it: list there what is to be trusted";
instead(_) ->
    undefined.

%% Those that are to be named in the log.
-spec unsupported([option()]) -> [atom()].
unsupported(Opts) ->
    [Key || {Key, _} <- Opts, {_, unsupported} <- [option(Key)]].

%% The same options, with what is secret in them where no report shows it.
-spec seal([term()]) -> [term()].
seal(Opts) ->
    [sealed(Opt) || Opt <- Opts].

sealed({Key, Value}) when Key =:= key orelse Key =:= password, not is_function(Value) ->
    {Key, outrider_secret:seal(Value)};
sealed({certs_keys, Pairs}) when is_list(Pairs) ->
    {certs_keys, [
        case is_map(Pair) of
            true -> maps:from_list(seal(maps:to_list(Pair)));
            false -> Pair
        end
     || Pair <- Pairs
    ]};
sealed({sni_hosts, Hosts}) when is_list(Hosts) ->
    {sni_hosts, [
        case Host of
            {Name, Opts} when is_list(Opts) -> {Name, seal(Opts)};
            _ -> Host
        end
     || Host <- Hosts
    ]};
sealed(Opt) ->
    Opt.

%% What is announced by ALPN.
-spec protocols(#{atom() => term()}) -> [binary()].
protocols(Opts) ->
    maps:get(alpn_preferred_protocols, Opts, [<<"h2">>, <<"http/1.1">>]).

%% Versions by their numbers on the wire: those for which there is a cipher suite.
-spec versions(#{atom() => term()}) -> [non_neg_integer()].
versions(Opts) ->
    Suites = suites(Opts),
    [
        number(Version)
     || Version <- maps:get(versions, Opts, ['tlsv1.3', 'tlsv1.2']),
        Suites =:= default orelse lists:keymember(Version, 1, Suites)
    ].

number('tlsv1.3') -> 16#0304;
number('tlsv1.2') -> 16#0303.

-spec ciphers(#{atom() => term()}) -> default | [non_neg_integer()].
ciphers(Opts) ->
    case suites(Opts) of
        default -> default;
        Suites -> [Number || {_, Number} <- Suites]
    end.

suites(#{ciphers := [_ | _] = Ciphers}) ->
    [maps:get(Name, ?SUITES) || Name <- lists:map(fun suite/1, names(Ciphers)), is_map_key(Name, ?SUITES)];
suites(_) ->
    default.

names([Char | _] = Names) when is_integer(Char) -> string:lexemes(Names, ":");
names(Names) -> Names.

%% The name that IANA gives it; OTP knows OpenSSL's names too.
suite(Suite) when is_map(Suite) ->
    try
        ssl:suite_to_str(Suite)
    catch
        _:_ -> unknown
    end;
suite(Name) when is_list(Name) ->
    try ssl:str_to_suite(Name) of
        Suite when is_map(Suite) -> suite(Suite);
        _ -> unknown
    catch
        _:_ -> unknown
    end;
suite(_) ->
    unknown.

%% Groups of the key exchange. TLS 1.2 calls those that are curves eccs.
-spec groups(#{atom() => term()}) -> default | [non_neg_integer()].
groups(#{supported_groups := Groups}) -> known_groups(Groups);
groups(#{eccs := Curves}) -> known_groups(Curves);
groups(_) -> default.

known_groups(Names) ->
    Numbers = #{x25519 => 29, secp256r1 => 23, secp384r1 => 24},
    case [maps:get(Name, Numbers) || Name <- Names, is_map_key(Name, Numbers)] of
        [] -> default;
        Groups -> Groups
    end.

%% Whether a failed handshake is said in the log, which is done at OTP's level, notice.
-spec logs_alerts([term()]) -> boolean().
logs_alerts(SocketOpts) ->
    proplists:get_value(log_alert, SocketOpts, true) =:= true andalso
        lists:member(proplists:get_value(log_level, SocketOpts, notice), [notice, info, debug, all]).

%% The table: {what it may be, its fate}.

-spec option(term()) -> {term(), used | quiet | unsupported} | unknown.
option(cert) -> {cert, used};
option(certfile) -> {path, used};
option(key) -> {key, used};
option(keyfile) -> {path, used};
option(password) -> {password, used};
option(certs_keys) -> {certs_keys, used};
option(cacerts) -> {list, used};
option(cacertfile) -> {path, used};
option(verify) -> {{one_of, [verify_none, verify_peer]}, used};
option(fail_if_no_peer_cert) -> {boolean, used};
option(depth) -> {integer, used};
option(crl_check) -> {{one_of, [true, false, peer, best_effort]}, used};
option(crl_cache) -> {crl_cache, used};
option(sni_hosts) -> {sni_hosts, used};
option(sni_fun) -> {sni_fun, used};
option(versions) -> {versions, used};
option(ciphers) -> {list, used};
option(honor_cipher_order) -> {boolean, used};
option(eccs) -> {list, used};
option(supported_groups) -> {groups, used};
option(alpn_preferred_protocols) -> {protocols, used};
option(session_tickets) -> {{one_of, [disabled, stateful, stateless]}, used};
option(reuse_sessions) -> {{one_of, [true, false, save]}, used};
option(log_alert) -> {boolean, used};
option(log_level) -> {atom, used};
option(handshake) -> {{one_of, [full]}, quiet};
option(protocol) -> {{one_of, [tls]}, quiet};
option(early_data) -> {{one_of, [disabled]}, quiet};
option(verify_fun) -> {any, quiet};
option(partial_chain) -> {any, quiet};
option(signature_algs) -> {any, unsupported};
option(signature_algs_cert) -> {any, unsupported};
option(Key) ->
    Quiet = [
        anti_replay, beast_mitigation, certificate_authorities, client_renegotiation, dh, dhfile, hibernate_after,
        honor_ecc_order, keep_secrets, key_update_at, max_handshake_size, middlebox_comp_mode, next_protocols_advertised,
        padding_check, psk_identity, receiver_spawn_opts, renegotiate_at, reuse_session, secure_renegotiate,
        sender_spawn_opts, user_lookup_fun
    ],
    case lists:member(Key, Quiet) of
        true -> {any, quiet};
        false -> unknown
    end.

allowed({Type, _}, Value) -> is(Type, Value);
allowed(unknown, _) -> false.

is(any, _) -> true;
is(atom, V) -> is_atom(V);
is(boolean, V) -> is_boolean(V);
is(list, V) -> is_list(V);
is(integer, V) -> is_integer(V) andalso V >= 0;
is({one_of, Values}, V) -> lists:member(V, Values);
is(path, V) -> is_binary(V) orelse (V =/= [] andalso io_lib:char_list(V));
is(cert, V) -> is_binary(V) orelse (is_list(V) andalso V =/= [] andalso lists:all(fun is_binary/1, V));
is(key, V) when is_function(V, 0) -> is(key, V());
is(key, {Type, Der}) -> lists:member(Type, ['RSAPrivateKey', 'ECPrivateKey', 'PrivateKeyInfo']) andalso is_binary(Der);
is(password, V) when is_function(V, 0) -> true;
is(password, V) -> is_binary(V) orelse io_lib:char_list(V);
is(certs_keys, [_ | _] = Pairs) -> lists:all(fun is_pair/1, Pairs);
is(crl_cache, {ssl_crl_hash_dir, {internal, Args}}) -> is(path, proplists:get_value(dir, Args));
is(crl_cache, {ssl_crl_cache, {internal, []}}) -> true;
is(sni_hosts, Hosts) when is_list(Hosts) -> lists:all(fun is_host/1, Hosts);
is(sni_fun, V) -> V =:= undefined orelse is_function(V, 1);
is(versions, [_ | _] = Versions) -> lists:all(fun(V) -> V =:= 'tlsv1.3' orelse V =:= 'tlsv1.2' end, Versions);
is(groups, V) -> is_list(V) andalso known_groups(V) =/= default;
is(protocols, V) -> is_list(V) andalso lists:all(fun(P) -> is_binary(P) andalso P =/= <<>> andalso byte_size(P) < 256 end, V);
is(_, _) -> false.

is_pair(Pair) when is_map(Pair) ->
    Opts = maps:to_list(Pair),
    lists:all(fun({Key, _}) -> lists:member(Key, [cert, certfile, key, keyfile, password]) end, Opts) andalso
        check(Opts) =:= ok andalso (is_map_key(cert, Pair) orelse is_map_key(certfile, Pair));
is_pair(_) ->
    false.

is_host({Name, Opts}) -> io_lib:char_list(Name) andalso is_list(Opts) andalso check_host(Opts) =:= ok;
is_host(_) -> false.

contradictions(Opts) ->
    [Key || {Key, true} <- [
        %% Where no client is verified nobody would ask them: a host may say that they are.
        {verify_fun, is_set(verify_fun, Opts) andalso verifies(Opts)},
        {partial_chain, is_set(partial_chain, Opts) andalso verifies(Opts)},
        {fail_if_no_peer_cert, maps:get(fail_if_no_peer_cert, Opts, false) =:= true andalso verify(Opts) =/= verify_peer},
        {cacertfile, verify(Opts) =:= verify_peer andalso not (is_map_key(cacertfile, Opts) orelse is_map_key(cacerts, Opts))},
        {crl_cache, verify(Opts) =:= verify_peer andalso maps:get(crl_check, Opts, false) =/= false andalso
            not is_hash_dir(Opts)},
        {ciphers, maps:get(ciphers, Opts, []) =/= [] andalso versions(maps:with([ciphers, versions], usable(Opts))) =:= []},
        {sni_fun, is_function(maps:get(sni_fun, Opts, undefined)) andalso maps:get(sni_hosts, Opts, []) =/= []}
    ]].

verify(Opts) -> maps:get(verify, Opts, verify_none).

verifies(Opts) ->
    verify(Opts) =:= verify_peer orelse maps:get(sni_hosts, Opts, []) =/= [] orelse is_set(sni_fun, Opts).

is_set(Key, Opts) -> maps:get(Key, Opts, undefined) =/= undefined.

is_hash_dir(#{crl_cache := {ssl_crl_hash_dir, _}}) -> true;
is_hash_dir(_) -> false.

%% Wrong values have been named already.
usable(Opts) ->
    maps:filter(fun(Key, Value) -> allowed(option(Key), Value) end, Opts).
