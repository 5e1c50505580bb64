%%% What the log says of a sidecar: what it says itself, and how it began or ended badly, in words such as Ranch's.
-module(outrider_log).

-export([said/4, not_started/2, lost/2]).

%% A line of the sidecar's own, from one of its parts.
-spec said(ranch:ref(), logger:level(), Target :: binary(), Text :: binary()) -> ok.
said(Ref, Level, Target, Text) ->
    logger:log(Level, "~ts", [Text], #{domain => [outrider], target => Target, listener => Ref}).

-spec not_started(ranch:ref(), outrider_launch:reason()) -> ok.
not_started(Ref, Reason) ->
    TransOpts = outrider_registry:transport_options(Ref),
    ranch:log(error, "Failed to start Outrider listener ~p with ~999999p for reason ~999999p (~s)~n",
        [Ref, TransOpts, Reason, outrider_launch:describe(Reason)], outrider_options:logger(TransOpts)).

-spec lost(ranch:ref(), outrider_launch:reason()) -> ok.
lost(Ref, Reason) ->
    Logger = outrider_options:logger(outrider_registry:transport_options(Ref)),
    ranch:log(error, "Outrider listener ~p has lost its sidecar for reason ~0p (~s)~n",
        [Ref, Reason, outrider_launch:describe(Reason)], Logger).
