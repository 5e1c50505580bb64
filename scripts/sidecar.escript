#!/usr/bin/env escript
%%% Puts the sidecar where the application looks for it: priv/bin/outrider. rebar3 and mix run this before they compile.
%%%
%%% usage: escript scripts/sidecar.escript
%%%
%%% Takes the first that there is:
%%%   1. the file that OUTRIDER_EXECUTABLE names, copied; `none` leaves the place empty, for an application whose `executable`
%%%      names one that is only there when it runs
%%%   2. what lies in priv/bin/outrider, if it is a packaged binary of this version
%%%   3. an archive of `make package` from the folder OUTRIDER_PREBUILT (https://…, file:///… or an absolute path), if its
%%%      checksum is the one in scripts/sidecar.sha256 or in OUTRIDER_PREBUILT_SHA256
%%%   4. what Cargo builds from the sources
%%% What was asked for and cannot be had is an error, not a reason to try the next. Uses no network but for 3, and in 4 what
%%% Cargo downloads.
-mode(compile).

-define(SIDECAR, "priv/bin/outrider").
-define(CHECKSUMS, "scripts/sidecar.sha256").
%% Of a download: until it is connected, and in all.
-define(CONNECT_MS, 30000).
-define(DOWNLOAD_MS, 300000).

main([]) ->
    ok = file:set_cwd(filename:dirname(filename:dirname(filename:absname(escript:script_name())))),
    first([fun named/1, fun present/1, fun prebuilt/1, fun built/1], version(), []);
main(_) ->
    stop(2, ["usage: escript scripts/sidecar.escript"]).

first([], Version, Skipped) ->
    Archive = [archive(Version), ".tar.gz"],
    stop(1, [
        "there is no sidecar, and nothing to make one from:",
        [["\n  ", Why] || Why <- lists:reverse(Skipped)],
        "\nDo one of these:"
        "\n  install Rust 1.88 or newer (https://rustup.rs) and a C compiler"
        "\n  unpack bin/outrider of ", Archive, " into ", filename:absname("priv"),
        "\n  set OUTRIDER_PREBUILT to the folder that has ", Archive,
        "\n  set OUTRIDER_EXECUTABLE to a sidecar of version ", Version
    ]);
first([Step | Steps], Version, Skipped) ->
    case Step(Version) of
        ok -> ok;
        {skip, Why} -> first(Steps, Version, [Why | Skipped]);
        {error, Why} -> stop(1, Why)
    end.

stop(Status, Why) ->
    io:format(standard_error, "outrider: ~ts~n", [Why]),
    halt(Status).

%% What the user names.
named(Version) ->
    case os:getenv("OUTRIDER_EXECUTABLE", "") of
        "" ->
            {skip, "OUTRIDER_EXECUTABLE is not set"};
        "none" ->
            ok;
        File ->
            case identify(File) of
                {Version, _} ->
                    {ok, Binary} = file:read_file(File),
                    put_sidecar(Binary);
                Other ->
                    {error, ["OUTRIDER_EXECUTABLE=", File, " ", describe(Other, Version), "; name another, or unset it"]}
            end
    end.

%% What is there. Whether one that was built from the sources is still current only Cargo can tell.
present(Version) ->
    case identify(?SIDECAR) of
        {Version, packaged} ->
            ok;
        {Version, source} ->
            case os:find_executable("cargo") of
                false -> ok;
                _ -> {skip, [?SIDECAR, " was built from source"]}
            end;
        Other ->
            {skip, [?SIDECAR, " ", describe(Other, Version)]}
    end.

%% What somebody else built.
prebuilt(Version) ->
    Name = archive(Version),
    case {os:getenv("OUTRIDER_PREBUILT", ""), os:type()} of
        {"", _} ->
            {skip, "OUTRIDER_PREBUILT is not set"};
        {_, Type} when Type =/= {unix, linux} ->
            {error, "OUTRIDER_PREBUILT is set, but packaged binaries are for Linux; unset it to build with Cargo"};
        {Folder, _} ->
            Address = string:trim(Folder, trailing, "/") ++ "/" ++ Name ++ ".tar.gz",
            case checksum(Name ++ ".tar.gz") of
                {ok, Checksum} -> checked(read(Address), Checksum, Address, Name, Version);
                {error, _} = Error -> Error
            end
    end.

checked({error, Reason}, _, Address, _, _) ->
    {error, ["cannot read ", Address, ": ", io_lib:format("~0tp", [Reason]),
        "; mend OUTRIDER_PREBUILT, or unset it to build with Cargo"]};
checked({ok, Archive}, Checksum, Address, Name, Version) ->
    case string:lowercase(binary:encode_hex(crypto:hash(sha256, Archive))) of
        Checksum ->
            {ok, Files} = erl_tar:extract({binary, Archive}, [compressed, memory]),
            {_, Binary} = lists:keyfind(Name ++ "/bin/outrider", 1, Files),
            ok = put_sidecar(Binary),
            case identify(?SIDECAR) of
                {Version, _} ->
                    io:format("outrider: took the sidecar from ~ts~n", [Address]);
                Other ->
                    {error, [Address, " ", describe(Other, Version), "; unset OUTRIDER_PREBUILT to build with Cargo"]}
            end;
        Other ->
            {error, [Address, " is not what it should be: its SHA-256 is ", Other, ", expected is ", Checksum,
                "; fetch it anew, and do not use it as it is"]}
    end.

%% What the archive must hash to, in lower case.
checksum(File) ->
    case os:getenv("OUTRIDER_PREBUILT_SHA256", "") of
        "" ->
            {ok, Text} = file:read_file(?CHECKSUMS),
            Lines = [string:lexemes(Line, " *") || Line <- string:lexemes(Text, "\n")],
            case [Hash || [Hash, Named] <- Lines, Named =:= list_to_binary(File)] of
                [Checksum | _] ->
                    {ok, Checksum};
                [] ->
                    {error, [?CHECKSUMS, " has no line for ", File,
                        "; set OUTRIDER_PREBUILT_SHA256 if you know the archive, or unset OUTRIDER_PREBUILT to build with Cargo"]}
            end;
        Checksum ->
            {ok, string:lowercase(list_to_binary(Checksum))}
    end.

read("file://" ++ Path) ->
    file:read_file(Path);
read("/" ++ _ = Path) ->
    file:read_file(Path);
read(Address) ->
    _ = [{ok, _} = application:ensure_all_started(App) || App <- [inets, ssl]],
    _ = [proxy(Option, Value) || {Option, Name} <- [{proxy, "HTTP_PROXY"}, {https_proxy, "HTTPS_PROXY"}],
        Value <- [os:getenv(Name, os:getenv(string:lowercase(Name), ""))], Value =/= ""],
    Options = [{timeout, ?DOWNLOAD_MS}, {connect_timeout, ?CONNECT_MS} | tls(Address)],
    case httpc:request(get, {Address, []}, Options, [{body_format, binary}]) of
        {ok, {{_, 200, _}, _, Body}} -> {ok, Body};
        {ok, {{_, Status, Reason}, _, _}} -> {error, {Status, Reason}};
        {error, _} = Error -> Error
    end.

tls("https://" ++ _) ->
    Hostname = [{match_fun, public_key:pkix_verify_hostname_match_fun(https)}],
    [{ssl, [{verify, verify_peer}, {cacerts, public_key:cacerts_get()}, {depth, 10}, {customize_hostname_check, Hostname}]}];
tls(_) ->
    [].

proxy(Option, Value) ->
    #{host := Host, port := Port} = maps:merge(#{port => 8080}, uri_string:parse(Value)),
    ok = httpc:set_options([{Option, {{Host, Port}, ["localhost", "127.0.0.1"]}}]).

%% What Cargo makes of the sources; it knows by itself what has changed.
built(_Version) ->
    case os:find_executable("cargo") of
        false ->
            {skip, "cargo is not on the PATH"};
        Cargo ->
            Arguments = ["install", "--quiet", "--locked", "--force", "--no-track", "--path", ".", "--root", "priv"],
            case run(Cargo, Arguments, [nouse_stdio]) of
                {0, _} ->
                    ok;
                {Status, _} ->
                    {error, ["cargo could not build the sidecar (exit code ", integer_to_list(Status), "), and has said why above.",
                        "\nIt needs Rust 1.88 or newer, a C compiler for linking, and the crates of Cargo.lock."
                        "\nWithout these, take a packaged binary: see docs/packaging.md"]}
            end
    end.

%% The version of a binary, and whether `make package` built it; or why it has none.
identify(File) ->
    case run(filename:absname(File), ["--version"], [stderr_to_stdout]) of
        {0, Text} ->
            case re:run(Text, "^outrider (\\S+) \\(.*; (packaged|built) from .*\\)$", [{capture, all_but_first, list}, multiline]) of
                {match, [Version, "packaged"]} -> {Version, packaged};
                {match, [Version, "built"]} -> {Version, source};
                nomatch -> {other, Text}
            end;
        {Status, Text} when is_integer(Status) ->
            {other, Text};
        {error, Posix} ->
            {unusable, Posix}
    end.

describe({unusable, enoent}, _) -> "is not there";
describe({unusable, Posix}, _) -> ["cannot be run: ", file:format_error(Posix)];
describe({other, _}, _) -> "is no sidecar that this version knows";
describe({Other, _}, Version) -> ["is of version ", Other, ", this is ", Version].

%% Runs a program to its end: its exit code and what it said.
run(File, Arguments, Options) ->
    try open_port({spawn_executable, File}, [{args, Arguments}, exit_status, binary, hide | Options]) of
        Port -> collect(Port, [])
    catch
        error:Posix -> {error, Posix}
    end.

collect(Port, Text) ->
    receive
        {Port, {data, More}} -> collect(Port, [Text, More]);
        {Port, {exit_status, Status}} -> {Status, Text}
    end.

%% In one step, so that a sidecar that runs goes on.
put_sidecar(Binary) ->
    case file:read_file(?SIDECAR) of
        {ok, Binary} ->
            ok;
        _ ->
            New = ?SIDECAR ++ ".new",
            ok = filelib:ensure_dir(New),
            ok = file:write_file(New, Binary),
            ok = file:change_mode(New, 8#755),
            ok = file:rename(New, ?SIDECAR)
    end.

%% As scripts/package.sh names it, less its extension.
archive(Version) ->
    [Machine | _] = string:lexemes(erlang:system_info(system_architecture), "-"),
    "outrider-" ++ Version ++ "-" ++ Machine ++ "-linux".

version() ->
    {ok, [{application, outrider, Keys}]} = file:consult("erlang/outrider.app.src"),
    proplists:get_value(vsn, Keys).
