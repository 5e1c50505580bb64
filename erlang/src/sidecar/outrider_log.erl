%%% What the log says of a sidecar: what it says itself, and how it began or ended badly, in words such as Ranch's.
-module(outrider_log).

-export([said/4, not_started/2, not_started_again/2, lost/2, refused/5, limit/4, is_told/1]).

%% Limits of which the log has a line. The others are of single clients, and their numbers in outrider:metrics/1.
-define(LEVELS, #{
    max_connections => warning, max_sockets => warning, max_accept_rate => warning, max_queued => warning, max_topics => warning,
    max_sockets_per_address => notice, max_backlog => notice, max_topics_per_client => notice
}).

%% A line of the sidecar's own, from one of its parts.
-spec said(ranch:ref(), logger:level(), Target :: binary(), Text :: binary()) -> ok.
said(Ref, notice, Target, Text) ->
    %% A handshake has failed: the options of TLS say whether that is to be known.
    case outrider_tls:logs_alerts(maps:get(socket_opts, outrider_registry:transport_options(Ref), [])) of
        true -> log(Ref, notice, Target, Text);
        false -> ok
    end;
said(Ref, Level, Target, Text) ->
    log(Ref, Level, Target, Text).

log(Ref, Level, Target, Text) ->
    logger:log(Level, "~ts", [Text], #{target => Target, listener => Ref}).

-spec not_started(ranch:ref(), outrider_launch:reason()) -> ok.
not_started(Ref, Reason) ->
    TransOpts = outrider_registry:transport_options(Ref),
    ranch:log(error, "Failed to start Outrider listener ~p with ~999999p for reason ~999999p (~s)~n",
        [Ref, TransOpts, Reason, outrider_launch:describe(Reason)], outrider_options:logger(TransOpts)).

-spec not_started_again(ranch:ref(), outrider_launch:reason()) -> ok.
not_started_again(Ref, Reason) ->
    Logger = outrider_options:logger(outrider_registry:transport_options(Ref)),
    ranch:log(warning, "Outrider listener ~p cannot start a sidecar again for reason ~0p (~s); it is tried again~n",
        [Ref, Reason, outrider_launch:describe(Reason)], Logger).

-spec lost(ranch:ref(), outrider_launch:reason()) -> ok.
lost(Ref, Reason) ->
    Logger = outrider_options:logger(outrider_registry:transport_options(Ref)),
    ranch:log(error, "Outrider listener ~p has lost its sidecar for reason ~0p (~s)~n",
        [Ref, Reason, outrider_launch:describe(Reason)], Logger).

%% The sidecar has refused a request with this status; Others have been refused since the last such line.
-spec refused(ranch:ref(), Sidecar :: pos_integer(), 400..599, Known :: map(), Others :: non_neg_integer()) -> ok.
refused(Ref, Number, Status, Known, Others) ->
    Limit = maps:get(limit, Known, undefined),
    Why =
        case Limit of
            undefined -> "malformed or not supported";
            _ -> ["beyond ", atom_to_list(Limit)]
        end,
    logger:log(
        notice, "Outrider listener ~0tp: a request of ~ts was refused with ~b (~ts)~ts",
        [Ref, peer(Known), Status, Why, others(Others)],
        metadata(Ref, Number, #{
            target => <<"outrider::http::refused">>, peer => maps:get(peer, Known, undefined), status => Status, limit => Limit
        })
    ).

others(0) -> "";
others(Count) -> io_lib:format("; ~b others since the last such line", [Count]).

%% The client that a proxy names, if there is one.
peer(#{proxy_header := Header} = Known) ->
    case ranch_proxy_header:parse(Header) of
        {ok, #{src_address := Ip, src_port := Port}, <<>>} -> peer({Ip, Port});
        _ -> peer(maps:remove(proxy_header, Known))
    end;
peer(#{peer := Peer}) -> peer(Peer);
peer({local, _}) -> "a Unix socket";
peer({_, _} = Peer) -> outrider_text:address(Peer);
peer(_) -> "a client".

%% A limit was reached so often since the last line about it.
-spec limit(ranch:ref(), Sidecar :: pos_integer(), Limit :: atom(), Count :: pos_integer()) -> ok.
limit(Ref, Number, Limit, Count) ->
    Level = maps:get(Limit, ?LEVELS),
    logger:log(
        Level, "Outrider listener ~0tp has reached ~s, ~b times since the last such line: ~ts", [Ref, Limit, Count, what(Limit)],
        metadata(Ref, Number, #{target => <<"outrider::report">>, limit => Limit})
    ).

what(Limit) when Limit =:= max_connections; Limit =:= max_sockets; Limit =:= max_accept_rate -> "new clients wait";
what(max_queued) -> "clients that take nothing are closed";
what(max_topics) -> "no topic can be added";
what(max_sockets_per_address) -> "new clients of an address are refused";
what(max_backlog) -> "slow clients are closed";
what(max_topics_per_client) -> "clients are not subscribed".

%% Whether there is a line about a limit at all.
-spec is_told(atom()) -> boolean().
is_told(Limit) ->
    is_map_key(Limit, ?LEVELS).

metadata(Ref, Number, More) ->
    More#{listener => Ref, sidecar => Number}.
