%%% What the log says of a sidecar: what it says itself, and how it began or ended badly, in words such as Ranch's.
-module(outrider_log).

-export([said/4, not_started/2, not_started_again/2, lost/2]).

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
    logger:log(Level, "~ts", [Text], #{domain => [outrider], target => Target, listener => Ref}).

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
